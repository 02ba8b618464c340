"""How two states differ, in the order in which causes come before effects.

    code, parameters, environment ─► outputs stage by stage ─► first step of the training ─► results

An output that differs though its stage read the same and had the same code and parameters points at
the environment, or at a stage that is not deterministic.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from minilingua.core.events import EvaluationEvent, StepEvent
from minilingua.provenance.contents import Contents
from minilingua.provenance.file_differences import describe_output
from minilingua.provenance.state import StageRecord, State

Kind = Literal["code", "parameters", "environment", "data", "training", "results"]
_SHOWN_CODE = 4

_OF_A_STEP = {
    "grad_norm": "gradient norm",
    "learning_rate": "learning rate",
    "tokens": "tokens",
    "supervised_tokens": "supervised tokens",
    "conversations": "conversations",
    "packs_without_targets": "packs without targets",
}
"""What else can differ, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that differs."""

    kind: Kind
    what: str
    """The parameter, package, output or step."""
    detail: str
    """The two values, or what differs in it."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}: {self.detail}"


def compare(a: State, b: State, contents: Contents) -> list[Difference]:
    """Returns all differences, causes first.

    Args:
        a: one state.
        b: the other one.
        contents: where files of both are looked up.
    """
    return [
        *_code(a, b),
        *_values("parameters", _flat(a.params), _flat(b.params), known=bool(a.params and b.params)),
        *_values("environment", *_environments(a, b), known=True),
        *_outputs(a, b, contents),
        *_training(a, b),
        *_values(
            "results",
            _flat(a.evaluation),
            _flat(b.evaluation),
            known=bool(a.evaluation and b.evaluation),
        ),
    ]


def _environments(a: State, b: State) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns what both tell of; the packages of a commit, for one, nobody knows."""
    both = a.environment.keys() & b.environment.keys()
    one, other = ({key: state.environment[key] for key in both} for state in (a, b))
    return _flat(one), _flat(other)


def differing_outputs(a: State, b: State) -> Iterator[tuple[str, str]]:
    """Yields (stage, path) of outputs with other contents, in the order of the line."""
    for name, one, other in _common_stages(a, b):
        for path in one.outs:
            if path in other.outs and one.outs[path] != other.outs[path]:
                yield name, path


def _code(a: State, b: State) -> Iterator[Difference]:
    made = {path for state in (a, b) for stage in state.stages.values() for path in stage.outs}
    by_stages: dict[tuple[str, ...], list[str]] = {}
    stages_of: dict[str, list[str]] = {}
    for name, one, other in _common_stages(a, b):
        for path in sorted(one.deps.keys() | other.deps.keys()):
            if path not in made and one.deps.get(path) != other.deps.get(path):
                stages_of.setdefault(path, []).append(name)
    for path, names in stages_of.items():
        by_stages.setdefault(tuple(names), []).append(path)
    for readers, paths in by_stages.items():
        more = f" and {len(paths) - _SHOWN_CODE} more" if len(paths) > _SHOWN_CODE else ""
        shown = ", ".join(paths[:_SHOWN_CODE]) + more
        yield Difference(kind="code", what=", ".join(readers), detail=shown)
    if a.commit != b.commit and a.commit and b.commit and not by_stages:
        detail = f"{a.commit[:12]} and {b.commit[:12]}, but no stage reads what changed"
        yield Difference(kind="code", what="commit", detail=detail)


def _values(
    kind: Kind, one: Mapping[str, Any], other: Mapping[str, Any], *, known: bool
) -> Iterator[Difference]:
    if not known:
        return
    for key in sorted(one.keys() | other.keys()):
        if one.get(key) != other.get(key):
            shown = [_show(side[key]) if key in side else "absent" for side in (one, other)]
            yield Difference(kind=kind, what=key, detail=" and ".join(shown))


def _outputs(a: State, b: State, contents: Contents) -> Iterator[Difference]:
    stages = {name: (one, other) for name, one, other in _common_stages(a, b)}
    blamed = False
    for name, path in differing_outputs(a, b):
        one, other = stages[name]
        detail = describe_output(path, one.outs[path], other.outs[path], contents)
        if not blamed and one.deps == other.deps and a.params == b.params:
            detail += "; its stage read the same: environment, chance, or changed by hand"
        blamed = True
        yield Difference(kind="data", what=path, detail=detail)


def _training(a: State, b: State) -> Iterator[Difference]:
    if not (a.events and b.events):
        return
    steps = [
        {event.step: event for event in state.events if isinstance(event, StepEvent)}
        for state in (a, b)
    ]
    for step in sorted(steps[0].keys() & steps[1].keys()):
        one, other = steps[0][step], steps[1][step]
        if one == other:
            continue
        if one.sample_digest != other.sample_digest:
            detail = "other conversations"
        elif one.loss != other.loss:
            relative = abs(one.loss - other.loss) / max(abs(one.loss), math.ulp(1.0))
            detail = f"loss {one.loss!r} and {other.loss!r} ({relative:.1e})"
        else:
            detail = next(
                f"{told} {getattr(one, name)!r} and {getattr(other, name)!r}"
                for name, told in _OF_A_STEP.items()
                if getattr(one, name) != getattr(other, name)
            )
        yield Difference(kind="training", what=f"first diverging step {step}", detail=detail)
        break
    lasts = [max(found, default=0) for found in steps]
    if lasts[0] != lasts[1]:
        yield Difference(kind="training", what="steps trained", detail=f"{lasts[0]} and {lasts[1]}")
    best = [_best(state) for state in (a, b)]
    if best[0] != best[1] and None not in best:
        yield Difference(
            kind="training",
            what="best validation loss",
            detail=" and ".join(f"{loss:.6f}" for loss in best if loss is not None),
        )


def _best(state: State) -> float | None:
    return min((e.loss for e in state.events if isinstance(e, EvaluationEvent)), default=None)


def _common_stages(a: State, b: State) -> Iterator[tuple[str, StageRecord, StageRecord]]:
    for name, stage in a.stages.items():
        if name in b.stages:
            yield name, stage, b.stages[name]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _show(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
