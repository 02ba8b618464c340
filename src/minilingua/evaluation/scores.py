"""Scores on disk: the whole list, and the few that ``dvc metrics show`` prints."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal

from minilingua.core.files import dump_record, write_json, write_text
from minilingua.core.records import ANSWER_FORMATS, Score

ModelName = Literal["base", "result"]

ALL = "all"
"""What a score is over when it is not of one language, format or instruction language."""

_LOSSES = ("loss", "loss_shuffled_prompts", "unigram_loss")
_QUESTIONS = {"": "mcqa", "_seen_facts": "mcqa_seen_facts", "_unseen_facts": "mcqa_unseen_facts"}


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Writes one JSON list, a score a line, sorted by everything but the figures."""
    lines = [dump_record(score) for score in sorted(scores, key=_identity)]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def _identity(score: Score) -> tuple[str, ...]:
    names = [field.name for field in fields(Score) if field.name not in {"value", "stderr", "n"}]
    return tuple(getattr(score, name) or "" for name in names)


class ScoreIndex:
    """Looks scores up by what they are of."""

    def __init__(self, scores: Iterable[Score]) -> None:
        self._scores = {_identity(score): score for score in scores}

    def loss(self, model: ModelName, task: str, language: str = ALL) -> Score | None:
        """Returns a loss, or None where there is none."""
        return self._scores.get((model, task, language, "", "", "nats_per_supervised_token"))

    def choice(
        self,
        model: ModelName,
        answer_format: str,
        *,
        task: str = "mcqa",
        language: str = ALL,
        metric: str = "accuracy",
    ) -> Score | None:
        """Returns an accuracy or chance over both instruction languages, or None."""
        return self._scores.get((model, task, language, answer_format, ALL, metric))


def summarise(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Returns model ─► name ─► value over all languages: losses, accuracies, chance."""
    index = ScoreIndex(scores)
    summary: dict[str, dict[str, float]] = {}
    models: tuple[ModelName, ModelName] = ("base", "result")
    for model in models:
        found = {name: index.loss(model, name) for name in _LOSSES}
        for suffix, task in _QUESTIONS.items():
            for answer_format in ANSWER_FORMATS:
                name = f"{answer_format}{suffix}"
                found[f"accuracy_{name}"] = index.choice(model, answer_format, task=task)
        found["chance"] = index.choice(model, ALL, metric="chance")
        summary[model] = {name: score.value for name, score in found.items() if score is not None}
    return summary


def write_summary(path: Path, scores: Sequence[Score]) -> None:
    """Writes ``summarise(scores)`` for ``dvc metrics show``."""
    write_json(path, summarise(scores))
