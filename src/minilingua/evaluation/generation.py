"""Greedy answers to prompts, in batches of similar length.

A prompt is padded on the left, generation ends at the end of turn or the limit, and the likeliest
token is taken each time, whatever the generation_config.json of the model says: two models are
compared under the same rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm

from minilingua.evaluation.result_log import ResultLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is to be answered."""

    tokens: tuple[int, ...]
    """Token ids, at least one."""
    limit: int
    """Tokens of the answer at most, its end of turn included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was generated."""

    tokens: tuple[int, ...]
    """Token ids without the end of turn."""
    stopped: bool
    """The end of turn came before the limit."""


def generate(
    model: Any,
    prompts: Sequence[Prompt],
    end_of_turn: int,
    batch_tokens: int,
    describe: str,
    log: ResultLog,
) -> list[Answer]:
    """Returns an answer to each prompt.

    Args:
        model: a ``LlamaForCausalLM``.
        prompts: in any order.
        end_of_turn: id of the token that ends an assistant's turn.
        batch_tokens: tokens of a batch, padding and answers included; a longer prompt goes alone.
        describe: label of the progress bar.
        log: what is in it is not generated again.
    """
    answers: list[Answer | None] = [None] * len(prompts)
    with tqdm(total=len(prompts), desc=describe, unit=" answers", disable=None, leave=False) as bar:
        for number, batch in enumerate(_batches(prompts, batch_tokens)):
            if number not in log.done:
                written = _generate(model, [prompts[index] for index in batch], end_of_turn)
                log.add(number, written)
            for index, tokens in zip(batch, log.done[number], strict=True):
                answers[index] = _answer(tokens[: prompts[index].limit], end_of_turn)
            bar.update(len(batch))
    return [answer for answer in answers if answer is not None]


def _batches(prompts: Sequence[Prompt], batch_tokens: int) -> list[list[int]]:
    """Returns numbers of prompts, those with like limits and lengths together, longest first."""
    order = sorted(
        range(len(prompts)), key=lambda n: (-prompts[n].limit, -len(prompts[n].tokens), n)
    )
    batches: list[list[int]] = []
    for number in order:
        limit = prompts[number].limit
        if batches:
            first = prompts[batches[-1][0]]
            width = max(len(prompts[n].tokens) for n in (*batches[-1], number)) + first.limit
            if first.limit == limit and (len(batches[-1]) + 1) * width <= batch_tokens:
                batches[-1].append(number)
                continue
        batches.append([number])
    return batches


@torch.inference_mode()
def _generate(model: Any, prompts: Sequence[Prompt], end_of_turn: int) -> list[list[int]]:
    """Returns what is generated after each prompt, padding behind the end of turn included."""
    from transformers import GenerationConfig

    width = max(len(prompt.tokens) for prompt in prompts)
    padding = [width - len(prompt.tokens) for prompt in prompts]
    ids = [[end_of_turn] * n + list(p.tokens) for n, p in zip(padding, prompts, strict=True)]
    mask = [[0] * n + [1] * (width - n) for n in padding]
    model.generation_config = GenerationConfig()  # what ours leaves open is filled in from it
    generated = model.generate(
        torch.tensor(ids),
        attention_mask=torch.tensor(mask),
        generation_config=GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=prompts[0].limit,
            eos_token_id=end_of_turn,
            pad_token_id=end_of_turn,
        ),
    )
    written: list[list[int]] = generated[:, width:].tolist()
    return written


def _answer(tokens: Sequence[int], end_of_turn: int) -> Answer:
    if end_of_turn in tokens:
        return Answer(tokens=tuple(tokens[: tokens.index(end_of_turn)]), stopped=True)
    return Answer(tokens=tuple(tokens), stopped=False)
