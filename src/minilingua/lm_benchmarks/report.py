"""Scores of all units, means over languages, base against result: everything below reports/.

The rows of most benchmarks are the same in every language. A mean over languages is therefore one
over rows, each in all its languages: its standard error, and the paired test of base and result,
take a row for one draw wherever all languages have as many rows.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from minilingua.core.files import (
    canonical_json,
    read_json,
    staged_directory,
    write_json,
    write_text,
)
from minilingua.core.records import ModelName, Score
from minilingua.core.seeding import generator
from minilingua.evaluation.resampling import (
    Floats,
    bootstrap,
    difference_interval,
    paired_test,
    ratio,
)
from minilingua.evaluation.scores import ALL, write_scores
from minilingua.lm_benchmarks.contamination import Flags, scores_of, without_found
from minilingua.lm_benchmarks.forms import Form, Items, ItemsOf, forms_of
from minilingua.lm_benchmarks.jobs import Digests, Job
from minilingua.lm_benchmarks.published import Difference, main_metric, markdown
from minilingua.params import Params

SCORES = Path("reports/benchmarks.json")
DETAILS = Path("reports/benchmarks")


def write_report(jobs: Sequence[Job], digests: Digests, flags: Flags, params: Params) -> None:
    """Writes scores, table, comparison and what they were made from; prints the table.

    Args:
        jobs: all that was asked for, computed.
        digests: of what they were computed from.
        flags: rows that curation found in the training data.
        params: seed and number of resamples.
    """
    scores: list[Score] = []
    units: list[dict[str, Any]] = []
    answers: list[str] = []
    items: ItemsOf = {}
    for job in jobs:
        outcome = read_json(job.path)
        scores += [_score(job, figure) for figure in outcome["figures"]]
        for form in forms_of(job.unit):
            for metric, values in outcome["items"].items():
                items.setdefault((job.model, form, metric), {})[job.unit.language] = values
        answers += [
            canonical_json(
                {"model": job.model, "unit": job.unit.label, "row": row, "answer": answer}
            )
            for row, answer in enumerate(outcome["answers"], start=1)
        ]
        units.append(_described(job, outcome))
    kept = without_found(items, flags)
    scores += scores_of(kept)
    items |= kept
    scores += _over_languages(scores, items)
    differences = _differences(items, params)
    table = markdown(scores, differences)
    with staged_directory(DETAILS) as aside:
        write_json(
            aside / "manifest.json",
            {**digests, "packages": jobs[0].depends_on["versions"], "units": units},
        )
        write_text(aside / "table.md", table)
        write_json(aside / "comparison.json", [asdict(each) for each in differences])
        write_text(aside / "answers.jsonl", "".join(f"{line}\n" for line in answers))
    write_scores(SCORES, scores)
    print(table, end="")  # noqa: T201 - this is the program's output
    if cut := sum(unit["truncated_prompts"] for unit in units):
        print(f"\n{cut} prompts were longer than the model's positions and lost their beginning")  # noqa: T201


def _described(job: Job, outcome: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": job.model,
        "unit": job.unit.label,
        **{name: job.depends_on[name] for name in ("shots", "limit", "device", "batch_size")},
        "task_versions": outcome["versions"],
        "truncated_prompts": outcome["truncated"],
    }


def _score(job: Job, figure: dict[str, Any]) -> Score:
    return Score(
        model=job.model,
        task=job.unit.task.name,
        language=job.unit.language,
        answer_format=job.unit.answer_format,
        instruction_language=job.unit.instruction_language,
        metric=figure["metric"],
        value=figure["value"],
        stderr=figure["stderr"],
        n=figure["n"],
    )


def _over_languages(scores: Iterable[Score], items: ItemsOf) -> list[Score]:
    """Returns means over languages, each counting alike, as published tables have them."""
    groups: defaultdict[tuple[ModelName, Form, str], list[Score]] = defaultdict(list)
    for score in scores:
        instructions = [score.instruction_language]
        if score.language == "en" and score.instruction_language == "en":
            instructions.append("native")
        for instruction in instructions:
            form = (score.task, score.answer_format, instruction)
            groups[score.model, form, score.metric].append(score)
    return [
        Score(
            model=model,
            task=form[0],
            language=ALL,
            answer_format=form[1],
            instruction_language=form[2],
            metric=metric,
            value=math.fsum(score.value for score in members) / len(members),
            stderr=_stderr(metric, members, items.get((model, form, metric))),
            n=sum(score.n for score in members),
        )
        for (model, form, metric), members in groups.items()
    ]


def _stderr(metric: str, members: Sequence[Score], items: Items | None) -> float | None:
    if metric == "chance":
        return None
    if items is not None:
        return ratio(*_clusters(items))[1]
    # BLEU and the like: at most the mean, which it is where languages go up and down together.
    known = [score.stderr for score in members if score.stderr is not None]
    return math.fsum(known) / len(known) if len(known) == len(members) else None


def _clusters(items: Items) -> tuple[Floats, Floats]:
    """Returns totals and weights by row, whose ratio is the mean over languages."""
    totals = [np.array(values) / len(values) for values in items.values()]
    weights = [np.full(len(values), 1 / len(values)) for values in items.values()]
    if len({len(values) for values in totals}) == 1:
        return np.sum(totals, axis=0), np.sum(weights, axis=0)
    return np.concatenate(totals), np.concatenate(weights)


def _differences(items: ItemsOf, params: Params) -> list[Difference]:
    """Returns base against result, row by row, of every task's main metric."""
    found = []
    for (model, form, metric), left in items.items():
        right = items.get(("result", form, metric))
        if model != "base" or right is None or metric != main_metric(form[0]):
            continue
        one, two = _clusters(left), _clusters(right)
        names = [str(part) for part in form]
        draws = bootstrap(
            [0] * len(one[0]),
            params.evaluate.resamples,
            generator(params.seed, "lm-eval", "difference", *names),
        )
        low, high = difference_interval(draws, one, two)
        found.append(
            Difference(
                task=form[0],
                answer_format=form[1],
                instruction_language=form[2],
                metric=metric,
                difference=ratio(*two)[0] - ratio(*one)[0],
                low=round(low, _DIGITS),
                high=round(high, _DIGITS),
                p=paired_test(
                    one,
                    two,
                    params.evaluate.resamples,
                    generator(params.seed, "lm-eval", "paired", *names),
                ),
                n=len(one[0]),
            )
        )
    return found


_DIGITS = 6
"""Of an interval's ends: the number of BLAS threads must not show in the report."""
