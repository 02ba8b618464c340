"""Scores on disk: the whole list, and the few that ``dvc metrics show`` prints."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from minilingua.core.files import dump_record, write_json, write_jsonl, write_text
from minilingua.core.records import ANSWER_FORMATS, ItemResult, ModelName, Score

ALL = "all"
"""What a score is over when it is not of one language, format or instruction language."""

_LOSSES = ("loss", "loss_shuffled_prompts", "unigram_loss")
_QUESTIONS = {"": "mcqa", "_seen_facts": "mcqa_seen_facts", "_unseen_facts": "mcqa_unseen_facts"}


_FIGURES = {"value", "stderr", "low", "high", "n"}
_IDENTITY = tuple(field.name for field in fields(Score) if field.name not in _FIGURES)


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Writes one JSON list, a score a line, sorted by everything but the figures."""
    lines = [dump_record(score) for score in sorted(scores, key=_identity)]
    write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")


def _identity(score: Score) -> tuple[str, ...]:
    return tuple(getattr(score, name) or "" for name in _IDENTITY)


def write_items(path: Path, results: Iterable[ItemResult]) -> None:
    """Writes what every model made of every item, a line each, in the order of their names."""
    write_jsonl(path, sorted(results, key=_item_name))


def _item_name(result: ItemResult) -> tuple[str, ...]:
    return (
        result.model,
        result.task,
        result.language,
        result.item,
        result.answer_format or "",
        result.instruction_language or "",
    )


class ScoreIndex:
    """Looks scores up by what they are of."""

    def __init__(self, scores: Iterable[Score]) -> None:
        self._scores = {_identity(score): score for score in scores}

    def find(
        self,
        model: ModelName,
        task: str,
        metric: str,
        answer_format: str | None = None,
        language: str = ALL,
    ) -> Score | None:
        """Returns a score over both instruction languages, or None."""
        instruction = "" if answer_format is None else ALL
        identity = (model, task, language, answer_format or "", instruction, metric)
        return self._scores.get(identity)

    def loss(self, model: ModelName, task: str, language: str = ALL) -> Score | None:
        """Returns a loss, or None where there is none."""
        return self.find(model, task, "nats_per_supervised_token", language=language)

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
        return self.find(model, task, metric, answer_format, language)


def summarise(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Returns model ─► name ─► value over all languages: the figures that tell the most."""
    index = ScoreIndex(scores)
    summary: dict[str, dict[str, float]] = {}
    models: tuple[ModelName, ModelName] = ("base", "result")
    for model in models:
        found = {name: index.loss(model, name) for name in _LOSSES}
        for suffix, task in _QUESTIONS.items():
            for answer_format in ANSWER_FORMATS:
                name = f"{answer_format}{suffix}"
                found[f"accuracy_{name}"] = index.choice(model, answer_format, task=task)
        for metric in ("accuracy", "unparsable"):
            found[f"generated_{metric}"] = index.find(model, "mcqa_generated", metric, ALL)
        found["bits_per_byte"] = index.find(model, "loss", "bits_per_byte")
        for metric in ("stop_rate", "repetition", "wrong_language"):
            found[metric] = index.find(model, "answers", metric)
        found["chance"] = index.choice(model, ALL, metric="chance")
        summary[model] = {name: score.value for name, score in found.items() if score is not None}
    return summary


def write_summary(path: Path, scores: Sequence[Score]) -> None:
    """Writes ``summarise(scores)`` for ``dvc metrics show``."""
    write_json(path, summarise(scores))
