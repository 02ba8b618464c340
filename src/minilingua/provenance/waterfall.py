"""Where the time of a training went, as a waterfall, from its telemetry.

    what the device is made for ─► while computing ─► optimizer ─► data ─► evaluations, saves, start
                                                                        └► of it: supervised tokens

Every line is the tokens a second that would be reached if nothing below it took time. Packs are not
padded: the documents of a micro batch lie one after the other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from minilingua.core.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One line of the waterfall."""

    name: str
    tokens_per_second: float
    lost: float
    """Share of the line above that is lost here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """Where the time of all attempts at a training went."""

    steps: int
    seconds: float
    """From the start of each attempt to its last record, added up."""
    stages: tuple[Stage, ...]
    supervised_share: float
    """Of the tokens."""
    supervised_tokens_per_second: float
    conversations_per_second: float
    mfu: float | None
    """Median of the steps; None: the device's peak is not known."""
    memory_mb: float
    replayed: int
    """Steps that were trained again after a restart."""


def waterfall(records: Sequence[Mapping[str, Any]], where: object) -> Waterfall:
    """Returns the waterfall of a training's telemetry.

    Raises:
        DataError: there is no step with its times in it.
    """
    steps = [r for r in records if r.get("kind") == "step" and "compute_seconds" in r]
    if not steps:
        raise DataError(f"{where}: the telemetry holds no step with its times")
    seconds = _added(steps, "seconds")
    tokens, supervised, conversations = (
        math.fsum(r[f"{name}_per_second"] * r["seconds"] for r in steps)
        for name in ("tokens", "supervised_tokens", "conversations")
    )
    compute, optimizer, data = (
        _added(steps, f"{name}_seconds") for name in ("compute", "optimizer", "data")
    )
    wall = max(_wall(records), seconds)
    taken = compute
    levels: list[tuple[str, float]] = [("forward and backward", tokens / compute)]
    for name, more in (
        ("optimizer", optimizer),
        ("waiting for data", data),
        ("bookkeeping", seconds - compute - optimizer - data),
        ("evaluations", _added(_of(records, "evaluation"), "seconds")),
        ("saving", _added(_of(records, "save"), "seconds")),
    ):
        taken += max(more, 0.0)
        levels.append((name, tokens / taken))
    levels.append(("start and the rest", tokens / max(wall, taken)))
    peak = next((r["peak_flops"] for r in _of(records, "start") if r.get("peak_flops")), None)
    if peak is not None:
        flops = math.fsum(r["flops_per_second"] * r["seconds"] for r in steps)
        levels.insert(0, ("peak of the device", peak / (flops / tokens)))
    known = [r["mfu"] for r in steps if r.get("mfu") is not None]
    return Waterfall(
        steps=len(steps),
        seconds=wall,
        stages=_stages(levels),
        supervised_share=supervised / tokens,
        supervised_tokens_per_second=supervised / max(wall, taken),
        conversations_per_second=conversations / max(wall, taken),
        mfu=median(known) if known else None,
        memory_mb=max(r["memory_mb"] for r in steps),
        replayed=len(steps) - len({r["step"] for r in steps}),
    )


def _stages(levels: Sequence[tuple[str, float]]) -> tuple[Stage, ...]:
    stages: list[Stage] = []
    for name, rate in levels:
        above = stages[-1].tokens_per_second if stages else rate
        stages.append(Stage(name=name, tokens_per_second=rate, lost=1 - rate / above))
    return tuple(stages)


def _of(records: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [record for record in records if record.get("kind") == kind]


def _added(records: Sequence[Mapping[str, Any]], name: str) -> float:
    return math.fsum(float(record[name]) for record in records)


def _wall(records: Sequence[Mapping[str, Any]]) -> float:
    """Returns the seconds between first and last record of each attempt, added up."""
    times: dict[int, list[float]] = {}
    for record in records:
        times.setdefault(int(record["attempt"]), []).append(float(record["time"]))
    return math.fsum(max(found) - min(found) for found in times.values())
