"""What the report tells, gathered from what the stages left."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from minilingua.core.errors import DataError
from minilingua.core.files import read_json, read_jsonl
from minilingua.core.languages import LANGUAGES
from minilingua.core.records import Score
from minilingua.evaluation.scores import ALL, ScoreIndex
from minilingua.params import Params
from minilingua.params_file import validate_params
from minilingua.provenance.data_record import SourceRecord, read_sources
from minilingua.provenance.lineage import EVALUATION_DETAILS, read_lineage
from minilingua.provenance.page_mark import mark_of_results
from minilingua.provenance.passport import collect_passport
from minilingua.provenance.scores import read_scores
from minilingua.provenance.training_record import Training, read_published, step_records
from minilingua.provenance.waterfall import Waterfall, waterfall
from minilingua.report.comparisons import Sides, read_comparisons

ANSWERS = EVALUATION_DETAILS / "answers.jsonl"
CURATION = Path("data/conversations/manifest.json")
_TOTALS = (
    ("mcqa", "all questions"),
    ("mcqa_seen_facts", "facts seen in another wording or language"),
    ("mcqa_unseen_facts", "facts never seen"),
)
_FORMATS = ("text", "letter", "number")


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageRow:
    """Results of one language, or of all."""

    name: str
    loss_base: Score | None
    loss: Score | None
    chance: Score | None
    accuracy_base: Score | None
    accuracy: Score | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalRow:
    """An accuracy over all languages."""

    questions: str
    answer_format: str
    chance: Score | None
    base: Score | None
    result: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What base and result wrote to a prompt without a key: a line of ``answers.jsonl``."""

    id: str
    language: str
    prompt: str
    reference: str
    base: str
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything on the page."""

    mark: str
    """Of what it tells; `track` looks at it."""
    params: Params
    training: Training
    passport: Mapping[str, Any]
    changed_code: Sequence[str]
    """Files that a stage has read and that are others now."""
    scores: Sequence[Score]
    languages: Sequence[LanguageRow]
    """The languages of the run, then all together."""
    totals: Sequence[TotalRow]
    comparisons: Sequence[Sides]
    """Base and result item by item, and other runs that were compared with this one."""
    sources: Sequence[SourceRecord]
    dropped: Mapping[str, int]
    """Reason of curation ─► rows."""
    kept: int
    contamination: Mapping[str, Mapping[str, int]]
    speed: Mapping[str, str]
    """What of the training's speed is known, for people."""
    waterfall: Waterfall | None
    """Where its time went; None where the telemetry is gone or does not tell."""
    answers: Sequence[Answer]
    """One of each language, in the order of the run's. They quote the test data."""


def gather() -> Content:
    """Reads the outputs of the line.

    Raises:
        MissingInputError: one is missing; the message names the stage that makes it.
        DataError: one cannot be read, or they are not of one line.
    """
    training = read_published()
    scores = read_scores()
    lineage = read_lineage()
    lineage.check()
    passport = collect_passport(training, lineage)
    params = validate_params(passport["params"], f"parameters of run {training.run_key}")
    index = ScoreIndex(scores)
    curation = read_json(CURATION, made_by="minilingua curate")
    dropped = {
        reason: sum(count for languages in sources.values() for count in languages.values())
        for reason, sources in curation["dropped"].items()
    }
    return Content(
        mark=mark_of_results(),
        params=params,
        training=training,
        passport=passport,
        changed_code=lineage.changed_code(),
        scores=scores,
        languages=[_language(index, code) for code in (*params.languages, ALL)],
        totals=list(_totals(index)),
        comparisons=read_comparisons(),
        sources=read_sources(),
        dropped=dropped,
        kept=curation["rows_kept"],
        contamination=curation["details"].get("contamination", {}),
        speed=_speed(training),
        waterfall=_waterfall(training),
        answers=_answers(params),
    )


def _language(index: ScoreIndex, code: str) -> LanguageRow:
    return LanguageRow(
        name=LANGUAGES[code].english_name if code in LANGUAGES else "All",
        loss_base=index.loss("base", "loss", code),
        loss=index.loss("result", "loss", code),
        chance=index.choice("result", "text", language=code, metric="chance"),
        accuracy_base=index.choice("base", "text", language=code),
        accuracy=index.choice("result", "text", language=code),
    )


def _totals(index: ScoreIndex) -> list[TotalRow]:
    rows = []
    for task, told in _TOTALS:
        for answer_format in _FORMATS:
            result = index.choice("result", answer_format, task=task)
            if result is not None:
                rows.append(
                    TotalRow(
                        questions=told,
                        answer_format=answer_format,
                        chance=index.choice("result", answer_format, task=task, metric="chance"),
                        base=index.choice("base", answer_format, task=task),
                        result=result,
                    )
                )
    return rows


def _waterfall(training: Training) -> Waterfall | None:
    try:
        return waterfall(training.telemetry, training.run_key)
    except DataError:
        return None


def _answers(params: Params) -> list[Answer]:
    """Returns the first answer of each language, by the id of its question."""
    if not ANSWERS.exists():
        return []
    first: dict[str, Answer] = {}
    for answer in read_jsonl(ANSWERS, Answer):
        kept = first.setdefault(answer.language, answer)
        if answer.id < kept.id:
            first[answer.language] = answer
    return [first[code] for code in params.languages if code in first]


def _speed(training: Training) -> dict[str, str]:
    steps = step_records(training.telemetry)
    if not steps:
        return {}
    told = {}
    for name, key, form in (
        ("step (median)", "seconds", "{:.3f} s"),
        ("tokens a second (median)", "tokens_per_second", "{:,.0f}"),
        ("supervised tokens a second (median)", "supervised_tokens_per_second", "{:,.0f}"),
    ):
        values = [float(step[key]) for step in steps if key in step]
        if values:
            told[name] = form.format(median(values))
    peak = max((float(step.get("memory_mb", 0)) for step in steps), default=0)
    if peak:
        told["peak memory"] = f"{peak:,.0f} MB"
    for name, kind in (("evaluations", "evaluation"), ("saves", "save")):
        records = (r for r in training.telemetry if r.get("kind") == kind and "seconds" in r)
        found = [float(record["seconds"]) for record in records]
        if found:
            told[f"{name}, all together"] = f"{math.fsum(found):.1f} s"
    told["steps, all together"] = (
        f"{math.fsum(float(step.get('seconds', 0)) for step in steps):.1f} s"
    )
    return told
