"""``minilingua challenge``: did two machines make the same, as far as they have to?

machine 1: --write one.json ─┐                        ┌─ data stages: equal bytes, always
                             ├─ same parameters, code ┤
machine 2: --write two.json ─┘                        └─ training: equal bytes, or within tolerance

Text, integers and NumPy's generators are the same everywhere, so the stages before the training
have to agree to the bit. A training has to where processor or GPU, versions and layout are the same
and its profile is ``bitwise``; elsewhere its losses may differ by rounding.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from minilingua.core.errors import DataError, ParamsError
from minilingua.core.events import Event
from minilingua.core.files import read_json, write_json
from minilingua.core.seeding import derive_seed
from minilingua.provenance.attempts import read_attempts
from minilingua.provenance.contents import Contents
from minilingua.provenance.differences import Difference, compare, differing_outputs
from minilingua.provenance.grading import TOLERANCE, largest_loss_difference
from minilingua.provenance.state import NUMERIC, StageRecord, State, in_order, read_state
from minilingua.provenance.training_record import EVENTS, read_published

FORMAT_VERSION = 1
_NUMBERS = {"cpu", "packages.torch", "packages.numpy", "packages.megatron-core"}
_SIZE = 192


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one machine made, and what it is."""

    params: dict[str, Any]
    stages: dict[str, StageRecord]
    """Stage ─► hashes of what it read and made."""
    environment: dict[str, Any]
    """Versions and processor."""
    arithmetic: dict[str, str]
    """Operation ─► digest of what it gives here."""
    devices: tuple[str, ...]
    """What the attempts of the training ran on."""
    events: tuple[Event, ...]
    """Of the training in reports/train."""
    format_version: int = FORMAT_VERSION


_ADAPTER = TypeAdapter(Manifest)


def main(argv: Sequence[str]) -> int:
    """Writes a manifest, or compares two; exit code 1 if what has to agree does not.

    Raises:
        ParamsError: neither --write nor two manifests are given.
        MissingInputError: a file is missing.
        DataError: a file is no manifest.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua challenge",
        description="Shows whether two machines made the same. On each, `--write FILE` after `dvc "
        "repro` writes what it made and what it is; then the two files are compared. It tells what "
        "has to agree to the bit, what within tolerance, and the first thing that does not.",
    )
    parser.add_argument("manifests", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write this machine's manifest")
    arguments = parser.parse_args(argv)
    if arguments.write is not None and not arguments.manifests:
        write_json(arguments.write, _ADAPTER.dump_python(collect(), mode="json"))
        _say(f"manifest: {arguments.write}; compare it with another machine's")
        return 0
    if len(arguments.manifests) != 2:
        raise ParamsError("challenge takes --write FILE, or two manifests to compare")
    one, other = (read_manifest(path) for path in arguments.manifests)
    names = [str(path) for path in arguments.manifests]
    verdicts = judge(_state(names[0], one), _state(names[1], other), one, other)
    for verdict in verdicts:
        _say(str(verdict))
    return 0 if all(verdict.holds for verdict in verdicts) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What was to be expected of a part of the line, and what was found."""

    what: str
    expected: str
    holds: bool
    found: str

    def __str__(self) -> str:
        return f"{self.what}: {self.expected}: {'yes' if self.holds else 'NO'}, {self.found}"


def collect() -> Manifest:
    """Returns the manifest of this machine and checkout.

    Raises:
        MissingInputError: params.yaml or dvc.lock is missing.
    """
    state = read_state(".")
    devices: tuple[str, ...] = ()
    if EVENTS.exists():
        attempts = read_attempts(read_published(), alive=False)
        devices = tuple(attempt.device or "unknown" for attempt in attempts)
    return Manifest(
        params=state.params,
        stages=state.stages,
        environment=state.environment,
        arithmetic=arithmetic(),
        devices=devices,
        events=state.events,
    )


def arithmetic() -> dict[str, str]:
    """Returns digests of a few float32 operations: libraries and processors differ in the last bit.

    A probe of this machine's processor, not of the training, which may run on a GPU.
    """
    generator = np.random.default_rng(derive_seed(0, "challenge"))
    a, b = (generator.standard_normal((_SIZE, _SIZE), dtype=np.float32) for _ in range(2))
    results = {"product": a @ b, "exp": np.exp(a), "sum": a.sum(axis=0), "tanh": np.tanh(b)}
    return {
        name: hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest()
        for name, result in results.items()
    }


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest.

    Raises:
        MissingInputError: it is missing.
        DataError: it is none.
    """
    raw = read_json(path, made_by="minilingua challenge --write")
    try:
        found = _ADAPTER.validate_json(json.dumps(raw))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: no manifest of a machine ({key}: {first['msg']})") from error
    if found.format_version != FORMAT_VERSION:
        raise DataError(
            f"{path} has format {found.format_version}, this is {FORMAT_VERSION}; write it anew"
        )
    return found


def judge(a: State, b: State, one: Manifest, other: Manifest) -> list[Agreement]:
    """Returns what has to agree, and whether it does; one line where nothing can be compared."""
    differences = compare(a, b, Contents(caches=()))
    unlike = next((d for d in differences if d.kind in {"code", "parameters"}), None)
    if unlike is not None or not (a.stages.keys() & b.stages.keys()):
        why = (
            f"other {unlike.kind}: {unlike.what}: {unlike.detail}" if unlike else "no stage in both"
        )
        return [Agreement(what="line", expected="the same line", holds=False, found=why)]
    wrong = list(differing_outputs(a, b))
    data = [(stage, path) for stage, path in wrong if stage not in NUMERIC]
    counted = len([stage for stage in a.stages if stage in b.stages and stage not in NUMERIC])
    agreements = [
        Agreement(
            what="data",
            expected="has to agree to the bit",
            holds=not data,
            found=f"first difference: {data[0][1]} of {data[0][0]}"
            if data
            else f"the outputs of {counted} stages have the same hashes",
        )
    ]
    if a.events and b.events:
        agreements.append(_training(a, b, one, other, wrong, differences))
    return agreements


def _training(
    a: State,
    b: State,
    one: Manifest,
    other: Manifest,
    wrong: Sequence[tuple[str, str]],
    differences: Sequence[Difference],
) -> Agreement:
    numeric = [(stage, path) for stage, path in wrong if stage in NUMERIC]
    unlike = _unlike(one, other, differences)
    if unlike is None:
        first = next((d for d in differences if d.kind == "training"), None)
        found = f"{first.what}, {first.detail}" if first else "every loss is the same"
        if numeric:
            found += f"; first output that differs: {numeric[0][1]}"
        holds = first is None and not numeric
        return Agreement(
            what="training", expected="has to agree to the bit", holds=holds, found=found
        )
    largest = largest_loss_difference(a.events, b.events)
    expected = f"has to agree within {TOLERANCE:g} ({unlike})"
    if largest is None:
        found = "other conversations, or another number of steps"
        return Agreement(what="training", expected=expected, holds=False, found=found)
    found = f"losses differ by {largest:.1e} at most"
    return Agreement(what="training", expected=expected, holds=largest <= TOLERANCE, found=found)


def _unlike(one: Manifest, other: Manifest, differences: Sequence[Difference]) -> str | None:
    """Returns why two trainings need not agree to the bit, or None."""
    if one.params.get("train", {}).get("profile") != "bitwise":
        return "the profile is not bitwise"
    if one.devices != other.devices:
        return f"devices {', '.join(one.devices)} and {', '.join(other.devices)}"
    for name, digest in one.arithmetic.items():
        if other.arithmetic.get(name) != digest:
            return f"the processors' arithmetic differs: {name}"
    changed = next((d for d in differences if d.kind == "environment" and _counts(d.what)), None)
    return f"{changed.what} {changed.detail}" if changed else None


def _counts(name: str) -> bool:
    """Tells whether a part of the environment may change a number."""
    return name in _NUMBERS or (
        name.startswith("training.") and name not in {"training.cpu", "training.device"}
    )


def _state(name: str, manifest: Manifest) -> State:
    return State(
        name=name,
        params=manifest.params,
        stages=in_order(manifest.stages),
        environment=manifest.environment,
        events=manifest.events,
    )


def _say(line: str) -> None:
    print(line)  # noqa: T201 - this is the program's output
