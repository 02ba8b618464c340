"""The command ``minilingua chat MODEL``: a conversation with a model in the terminal.

What is typed is a user's turn; the answer appears as it is written. Turns are encoded as in
training: text that spells a control token stays text.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minilingua.core.errors import MissingInputError, ParamsError
from minilingua.core.records import Message
from minilingua.evaluation.model import load_model
from minilingua.evaluation.prompts import PromptEncoder

_HELP = "Type a message; /clear forgets the conversation, /exit or Ctrl-D ends it."


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit code.

    Raises:
        MissingInputError: there is no such model.
        DataError: it has no chat template or no stop token.
        CheckpointError: it is no Llama, or its weights cannot be used.
        ParamsError: an argument is out of range.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua chat",
        description="Talk to a model in Hugging Face layout, such as models/hf or models/base. "
        + _HELP,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="directory of the model")
    parser.add_argument(
        "--tokenizer", type=Path, help="directory of its tokenizer (default: MODEL itself)"
    )
    parser.add_argument("--system", help="a system turn that leads every conversation")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="limit of an answer")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 (default): the likeliest token each time"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    arguments = parser.parse_args(argv)
    if arguments.max_new_tokens < 1 or not 0 <= arguments.temperature < math.inf:
        raise ParamsError(
            "--max-new-tokens has to be positive, --temperature a finite number, not negative"
        )
    if not 0 <= arguments.seed < 2**63:
        raise ParamsError(f"--seed {arguments.seed}: it has to be in [0, 2**63)")
    if not arguments.model.is_dir():
        raise MissingInputError(f"{arguments.model} is missing; `dvc repro` makes models/hf")
    encoder = PromptEncoder(arguments.tokenizer or arguments.model)
    model = load_model(arguments.model, "minilingua convert", encoder.vocab_size)
    system = () if arguments.system is None else (_message("system", arguments.system),)
    talk = Talk(
        model,
        encoder,
        system,
        max_new_tokens=arguments.max_new_tokens,
        temperature=arguments.temperature,
        seed=arguments.seed,
    )
    if sys.stdin.isatty():
        print(_HELP)  # noqa: T201 - the program's output
    for line in _lines():
        if line == "/exit":
            break
        if line == "/clear":
            talk.clear()
        elif line:
            note = talk.answer(line, _write)
            print(f"\n{note}" if note else "")  # noqa: T201 - the program's output
    return 0


class Talk:
    """A conversation with a model."""

    def __init__(
        self,
        model: Any,
        encoder: PromptEncoder,
        system: tuple[Message, ...] = (),
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Begins a conversation.

        Args:
            model: a ``LlamaForCausalLM``.
            encoder: of its tokenizer.
            system: a system turn, or nothing.
            max_new_tokens: limit of an answer.
            temperature: of the sampling; 0 takes the likeliest token.
            seed: of the sampling.
        """
        import torch

        self._model, self._encoder, self._system = model, encoder, system
        self._limit, self._temperature = max_new_tokens, temperature
        self._turns: list[Message] = []
        self._random = torch.Generator().manual_seed(seed)

    def clear(self) -> None:
        """Forgets all turns but the system's."""
        self._turns.clear()

    def answer(self, text: str, write: Callable[[str], None]) -> str:
        """Answers a user's turn.

        Args:
            text: the turn.
            write: gets the answer piece by piece.

        Returns:
            A note on the answer for the user, empty where there is nothing to say.
        """
        self._turns.append(_message("user", text))
        notes = []
        positions = self._model.config.max_position_embeddings
        room = positions - min(self._limit, positions // 2)  # the rest is for the answer
        prompt = self._prompt()
        while len(prompt) > room and len(self._turns) > 1:
            del self._turns[:2]  # the oldest question and its answer
            prompt = self._prompt()
            notes = ["(the beginning of the conversation no longer fits, and is forgotten)"]
        limit = min(self._limit, positions - len(prompt))
        if limit < 1:
            self._turns.pop()
            return (
                f"(not answered: with this turn the prompt has {len(prompt)} tokens, "
                f"the model {positions} positions)"
            )
        written: list[int] = []
        shown = ""
        for token in self._tokens(prompt, limit):
            written.append(token)
            decoded = self._encoder.decode(written)
            if not decoded.endswith("\ufffd"):  # half of a letter waits for its other half
                write(decoded[len(shown) :])
                shown = decoded
        said = self._encoder.decode(written)
        write(said[len(shown) :])  # half of a letter that never got its other half
        if len(written) == limit:
            why = "--max-new-tokens" if limit == self._limit else "the model has no more positions"
            notes.append(f"(cut after {limit} tokens: {why})")
        self._turns.append(_message("assistant", said))
        return "\n".join(notes)

    def _prompt(self) -> tuple[int, ...]:
        return self._encoder.request([*self._system, *self._turns], ()).prefix

    def _tokens(self, prompt: Sequence[int], limit: int) -> Iterator[int]:
        """Yields the answer's tokens, without the one that ends its turn."""
        import torch

        read, cache = torch.tensor([list(prompt)]), None
        for _ in range(limit):
            with torch.inference_mode():
                output = self._model(input_ids=read, past_key_values=cache, use_cache=True)
            logits, cache = output.logits[0, -1], output.past_key_values
            if self._temperature == 0:
                token = int(logits.argmax())
            else:
                shares = torch.softmax(logits / self._temperature, dim=0)
                token = int(torch.multinomial(shares, 1, generator=self._random))
            if token == self._encoder.end_of_turn:
                return
            yield token
            read = torch.tensor([[token]])


def _message(role: Any, content: str) -> Message:
    return Message(role=role, content=content)


def _lines() -> Iterator[str]:
    """Yields what is typed, line by line; a prompt only where somebody types."""
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
