"""Batched greedy answers are those of one prompt alone, and what is on disk is not made again."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import sleep
from typing import Any

import pytest
import torch

from minilingua.core.errors import RunBusyError
from minilingua.evaluation import result_log as module
from minilingua.evaluation.generation import Answer, Prompt, generate
from minilingua.evaluation.result_log import LOGS, ResultLog, forget_others, result_log

from .conftest import END

PROMPTS = [
    Prompt(tokens=tuple(range(20, 20 + length)), limit=limit)
    for length, limit in ((3, 12), (17, 12), (9, 5), (4, 5), (30, 12), (8, 12))
]


def alone(model: Any, prompt: Prompt) -> Answer:
    """Without cache, padding or batch: the likeliest token, again and again."""
    tokens = list(prompt.tokens)
    with torch.inference_mode():
        for _ in range(prompt.limit):
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
            if tokens[-1] == END:
                return Answer(tokens=tuple(tokens[len(prompt.tokens) : -1]), stopped=True)
    return Answer(tokens=tuple(tokens[len(prompt.tokens) :]), stopped=False)


def stopping(model: Any, prompt: Prompt) -> int:
    """A token that the model generates, to be taken for the end of turn."""
    return alone(model, prompt).tokens[2]


@pytest.mark.parametrize("batch_tokens", [1, 64, 4096])
def test_batches_answer_as_one_alone(model: Any, batch_tokens: int) -> None:
    answers = generate(model, PROMPTS, END, batch_tokens, "test", ResultLog())
    assert answers == [alone(model, prompt) for prompt in PROMPTS]
    assert all(len(a.tokens) <= p.limit for a, p in zip(answers, PROMPTS, strict=True))


def test_an_answer_ends_at_the_end_of_turn(model: Any) -> None:
    end = stopping(model, PROMPTS[1])
    whole = alone(model, PROMPTS[1]).tokens
    answers = generate(model, PROMPTS[:2], end, 4096, "test", ResultLog())
    assert answers[1] == Answer(tokens=whole[: whole.index(end)], stopped=True)


def test_a_generation_config_with_other_rules_changes_nothing(model: Any) -> None:
    expected = generate(model, PROMPTS, END, 4096, "test", ResultLog())
    model.generation_config = type(model.generation_config)(
        do_sample=True, top_k=3, repetition_penalty=3.0, no_repeat_ngram_size=2, eos_token_id=7
    )
    assert generate(model, PROMPTS, END, 4096, "test", ResultLog()) == expected


class Broken:
    """A model that must not be asked."""

    def generate(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("asked again")


def test_a_killed_generation_goes_on_where_it_was(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    expected = generate(model, PROMPTS, END, 64, "test", ResultLog(path))
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > 2
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:-5])  # killed while it wrote the last one
    with pytest.raises(AssertionError, match="asked again"):
        generate(Broken(), PROMPTS, END, 64, "test", ResultLog(path))
    assert generate(model, PROMPTS, END, 64, "test", ResultLog(path)) == expected
    assert path.read_bytes().splitlines(keepends=True) == lines
    assert generate(Broken(), PROMPTS, END, 64, "test", ResultLog(path)) == expected


def test_a_log_belongs_to_its_work_and_is_held_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    used: set[str] = set()
    with result_log(used, model="a") as log:
        log.add(0, [0.1, -2.5e-300])
    with result_log(used, model="b") as log:
        assert log.done == {}
    assert len(used) == 2
    again: set[str] = set()
    with result_log(again, model="a") as log:
        assert log.done == {0: [0.1, -2.5e-300]}  # the same bits
        monkeypatch.setattr(module, "_QUIET_S", 0.0)
        with (
            pytest.raises(RunBusyError, match="held by another evaluation"),
            result_log(set(), model="a"),
        ):
            pass
    forget_others(again)
    assert [path.stem for path in LOGS.glob("*.jsonl")] == list(again)


def test_another_evaluation_is_waited_for_as_long_as_it_adds_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "_QUIET_S", 1.0)
    holds = Event()

    def work() -> None:
        with result_log(set(), model="a") as log:
            holds.set()
            for number in range(6):  # three times as long as one that adds nothing is waited for
                sleep(0.5)
                log.add(number, [])

    with ThreadPoolExecutor() as threads:
        other = threads.submit(work)
        assert holds.wait(10)
        with result_log(set(), model="a") as log:
            assert list(log.done) == list(range(6))
        other.result()
