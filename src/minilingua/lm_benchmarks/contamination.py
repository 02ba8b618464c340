"""Rows of the benchmarks that stand in the training data, as curation found them.

    data/conversations/manifest.json        what was looked for: sets of items, by checksum
    data/conversations/contamination.jsonl  what was found in rows that were trained on
         └► a file of the mirror with the checksum of a set ─► which of its rows were found

Only benchmarks whose files curation can read, and whose figures are means over rows: those of
multiple choice but SIB-200.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minilingua.core.files import read_json, read_jsonl, sha256_file
from minilingua.core.records import Score
from minilingua.evaluation.contamination import FINDINGS, SUBSET, Finding
from minilingua.evaluation.resampling import ratio
from minilingua.lm_benchmarks.benchmarks import BENCHMARKS
from minilingua.lm_benchmarks.forms import Form, ItemsOf, forms_of
from minilingua.lm_benchmarks.mirror import decode, find
from minilingua.lm_benchmarks.units import Unit

MANIFEST = Path("data/conversations/manifest.json")
SUFFIX = f"_{SUBSET}"
"""Of the task, in scores without the rows that were found."""
_SUBJECTS = {"belebele": None, "mmlux": "id", "global_mmlu": "subject"}
"""Benchmark ─► the column that begins with the subject by which lm-eval splits it."""

Flags = dict[Form, dict[str, list[bool]]]
"""Form ─► language ─► whether each row was found, in the order of its items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What curation has looked for and found."""

    sets: Mapping[str, Sequence[str]]
    """SHA-256 of a file ─► names of its set; files of equal bytes are several."""
    found: frozenset[tuple[str, str]]
    """Set and item of what was trained on."""


def what_curation_found() -> Looked | None:
    """Returns what is known, or None where curation has not looked for any benchmark.

    Raises:
        DataError: a file of curation is malformed.
    """
    if not MANIFEST.exists() or not FINDINGS.exists():
        return None
    looked_for = read_json(MANIFEST).get("details", {}).get("benchmarks") or {}
    if not looked_for:
        return None
    findings = read_jsonl(FINDINGS, Finding)
    sets: dict[str, list[str]] = {}
    for name, about in looked_for.items():
        sets.setdefault(about["sha256"], []).append(name)
    return Looked(
        sets=sets,
        found=frozenset((f.set, f.item) for f in findings if not f.is_dropped),
    )


def flags_of(units: Iterable[Unit], mirror: Path, limit: int | None) -> Flags:
    """Returns which rows of each unit were found, of units of which that is known.

    Args:
        units: what was run.
        mirror: directory of the mirror.
        limit: rows of each of lm-eval's tasks at most.
    """
    looked = what_curation_found()
    flags: Flags = {}
    if looked is None:
        return flags
    for unit in units:
        found = _flags(unit, mirror, limit, looked)
        if found is not None:
            for form in forms_of(unit):
                flags.setdefault(form, {})[unit.language] = found
    return flags


def _flags(unit: Unit, mirror: Path, limit: int | None, looked: Looked) -> list[bool] | None:
    benchmark = BENCHMARKS[unit.task.benchmark]
    if benchmark.name not in _SUBJECTS:
        return None
    column = None if unit.task.is_chat else _SUBJECTS[benchmark.name]
    by_subject: dict[str, list[bool]] = {}
    for path in find(mirror, benchmark.files[-1], unit.language, benchmark.origin):
        names = looked.sets.get(sha256_file(path))
        if names is None:
            return None
        for number, row in enumerate(decode(path), start=1):
            subject = "" if column is None else str(row[column]).partition("/")[0]
            item = str(row.get("id", number))  # as curation names it
            found = any((name, item) in looked.found for name in names)
            by_subject.setdefault(subject, []).append(found)
    return [flag for subject in sorted(by_subject) for flag in by_subject[subject][:limit]]


def without_found(items: ItemsOf, flags: Flags) -> ItemsOf:
    """Returns the items once more without the rows that were found, under the suffixed task.

    A row that was found in one language is left out in all: they are translations of one another,
    and a mean over languages is one over the same rows.
    """
    kept: ItemsOf = {}
    for (model, form, metric), by_language in items.items():
        known = flags.get(form, {})
        if known.keys() != by_language.keys():
            continue
        drop = dict(known)
        if len({len(row) for row in known.values()}) == 1:
            anywhere = np.any(list(known.values()), axis=0).tolist()
            drop = dict.fromkeys(known, anywhere)
        left = {
            language: [value for value, out in zip(values, drop[language], strict=True) if not out]
            for language, values in by_language.items()
        }
        if all(left.values()):
            kept[model, (f"{form[0]}{SUFFIX}", *form[1:]), metric] = left
    return kept


def scores_of(kept: ItemsOf) -> list[Score]:
    """Returns the scores of each language."""
    return [
        Score(
            model=model,
            task=form[0],
            language=language,
            answer_format=form[1],
            instruction_language=form[2],
            metric=metric,
            value=_mean(values)[0],
            stderr=None if metric == "chance" else _mean(values)[1],
            n=len(values),
        )
        for (model, form, metric), by_language in kept.items()
        for language, values in by_language.items()
        # English instructions are the native ones of English: they are listed once.
        if (language, form[2]) != ("en", "native")
    ]


def _mean(values: Sequence[float]) -> tuple[float, float | None]:
    return ratio(np.array(values), np.ones(len(values)))
