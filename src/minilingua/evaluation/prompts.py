"""Messages as token ids: the chat template's own text may hold control tokens, contents never do.

    template rendered around placeholders ─► <|user|> │ content │ <|end|><|assistant|> │ lead-in
                                              control    text            control         text

Text between two control tokens is encoded in one go, contents and the template's plain text
together, with control tokens switched off: a question that spells ``<|end|>`` cannot end its own
turn. Training encodes the same way, and the stage compares the two.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError
from minilingua.core.files import require
from minilingua.core.records import Message
from minilingua.evaluation.model import Request

# Private-use characters: no data set has them and no template looks for them.
_LONGEST_REASON = 200
"""Characters of another library's message."""
_PLACEHOLDER = "\ue000{}\ue001"
_PLACEHOLDERS = re.compile("\ue000(\\d+)\ue001")


class PromptEncoder:
    """Encodes prompts and candidate answers with one tokenizer and its chat template."""

    def __init__(self, path: Path) -> None:
        """Loads the tokenizer.

        Args:
            path: directory in Hugging Face layout (``tokenizer.json`` and the chat template).

        Raises:
            MissingInputError: there is no tokenizer.
            DataError: it cannot be read, or has no chat template.
        """
        require(path / "tokenizer.json", made_by="minilingua tokenizer")
        from transformers import PreTrainedTokenizerFast

        self.tokenizer: Any
        try:
            self.tokenizer = PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
        except Exception as error:  # damaged files raise nearly anything, Rust's Exception too
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
            raise DataError(
                f"{path}: transformers cannot read its tokenizer files: {reason}"
            ) from error
        self.path = path
        if not self.tokenizer.chat_template:
            raise DataError(
                f"{path} has no chat template: chat_template.jinja, or chat_template in "
                "tokenizer_config.json, has to say how a prompt is written"
            )
        control = sorted(
            (
                token.content
                for token in self.tokenizer.added_tokens_decoder.values()
                if token.special
            ),
            key=lambda text: (-len(text), text),
        )
        self._control = re.compile(f"({'|'.join(map(re.escape, control)) or '(?!)'})")
        self._templates: dict[tuple[str, ...], tuple[list[str], frozenset[int]]] = {}

    @property
    def vocab_size(self) -> int:
        """Number of token ids, special tokens included."""
        return len(self.tokenizer)

    @property
    def end_of_turn(self) -> int:
        """Id of the token that ends an assistant's turn."""
        end: int | None = self.tokenizer.eos_token_id
        if end is None:
            raise DataError(f"{self.path / 'tokenizer_config.json'} names no eos_token")
        return end

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of token ids, control tokens left out."""
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def stripped(self, roles: Sequence[str]) -> frozenset[int]:
        """Returns the numbers of the messages whose outer white space the template takes away."""
        _, stripped = self._template(tuple(roles))
        return stripped

    def request(self, messages: Sequence[Message], answers: Iterable[str]) -> Request:
        """Returns the assistant's possible next turns after some messages.

        Args:
            messages: the turns before.
            answers: contents that may follow; their end-of-turn token is left out.

        Raises:
            DataError: the template does not show every message once and in order.
        """
        ids: list[int] = []
        parts, stripped = self._template(tuple(message.role for message in messages))
        contents = [
            message.content.strip() if number in stripped else message.content
            for number, message in enumerate(messages)
        ]
        # Parts alternate: text, control token, text, .. text.
        for number, part in enumerate(parts):
            if number % 2:
                ids.append(self.tokenizer.convert_tokens_to_ids(part))
            else:
                text = _PLACEHOLDERS.sub(lambda found: contents[int(found[1])], part)
                ids += self._text(text)
        lead_in = parts[-1]
        return Request(
            prefix=tuple(ids), branches=tuple(self._after(lead_in, answer) for answer in answers)
        )

    def _after(self, lead_in: str, answer: str) -> tuple[int, ...]:
        """Returns the ids of an answer behind the template's plain text, such as a line break."""
        led, joint = self._text(lead_in), self._text(lead_in + answer)
        if joint[: len(led)] == led and len(joint) > len(led):
            return tuple(joint[len(led) :])
        return tuple(self._text(answer))

    def _text(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids

    def _template(self, roles: tuple[str, ...]) -> tuple[list[str], frozenset[int]]:
        """Returns text and control tokens in turn, and which messages lose outer white space."""
        if roles not in self._templates:
            placeholders = [_PLACEHOLDER.format(number) for number in range(len(roles))]
            rendered = self._render(roles, placeholders)
            if _PLACEHOLDERS.findall(rendered) != [str(number) for number in range(len(roles))]:
                raise DataError(
                    f"{self.path}: the chat template does not show every message of a "
                    f"{'/'.join(roles)} conversation once and in order"
                )
            spaced = [f" {placeholder} " for placeholder in placeholders]
            spaced_rendered = self._render(roles, spaced)
            self._templates[roles] = (
                self._control.split(rendered),
                frozenset(i for i, text in enumerate(spaced) if text not in spaced_rendered),
            )
        return self._templates[roles]

    def _render(self, roles: Iterable[str], contents: Iterable[str]) -> str:
        turns = [
            {"role": role, "content": content}
            for role, content in zip(roles, contents, strict=True)
        ]
        rendered: str = self.tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True
        )
        return rendered
