"""The `fetch` stage: raw data of every source, in its native layout.

sample:  facts of CLDR ──────────────────────────┐
mirror:  <mirror>/<source>/.. ───────────────────┼► data/raw/<source>/..   data/raw/manifest.json
hub:     sources.lock ─► cache below HF_HOME ────┘
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minilingua.core.errors import MissingInputError
from minilingua.core.files import sha256_file, staged_directory
from minilingua.core.manifest import Manifest
from minilingua.params import Params
from minilingua.sources.benchmark_files import benchmark_files
from minilingua.sources.mirror import Part, cached, check_pins, copy, fill
from minilingua.sources.native import native_files, native_rows
from minilingua.sources.pins import LOCK, Lock, read_lock
from minilingua.sources.selection import reads_evaluation_files, select_sources
from minilingua.sources.spec import load_spec

RAW = Path("data/raw")
BENCHMARKS = "benchmarks"
"""Directory below ``RAW`` of the texts that must not be trained on."""

_SHOWN_FILES = 3


def run(params: Params) -> None:
    """Generates, copies or downloads the raw data and checks that it can be read.

    Raises:
        MissingInputError: the mirror, one of its sources or one of their files is missing.
        DataError: a file is not what its source's spec or the lock says.
        DownloadError: a file cannot be had from the hub.
        ParamsError: the sample cannot be as large as asked for, or a source is not pinned.
    """
    selection = select_sources(params.sources)
    sources = sorted(selection.used)
    _report_excluded(selection.excluded)
    manifest = Manifest(stage="fetch")
    manifest.details["origin"] = params.sources.origin
    manifest.details["sources"] = {}
    described: dict[str, dict[str, Any]]
    with staged_directory(RAW) as raw:
        if params.sources.origin == "sample":
            from minilingua.sources.sample.generate import LICENCE, generate

            generate(raw, sources, params.languages, params.sources.sample, params.seed)
            described = {name: {"licence": LICENCE, "commercial_use": True} for name in sources}
        else:
            manifest.details["excluded"] = selection.excluded
            described = _collect(params, sources, raw)
        for name in tqdm(sources, desc="check", unit="source", disable=None):
            found = _describe(name, raw / name, params.languages, manifest)
            manifest.details["sources"][name] = found | described[name]
        _report_empty(sources, params.languages, manifest)
        if params.sources.benchmarks is not None:
            manifest.details["benchmarks"] = _copy_benchmarks(
                Path(params.sources.benchmarks), raw / BENCHMARKS
            )
        manifest.write(raw / "manifest.json")


def _collect(params: Params, sources: Sequence[str], raw: Path) -> dict[str, dict[str, Any]]:
    """Puts the real data of the sources below ``raw`` and returns what is known of their origin."""
    evaluation = reads_evaluation_files(params.sources)
    parts = [Part(name=name, languages=params.languages, evaluation=evaluation) for name in sources]
    mirror = Path(params.sources.mirror) if params.sources.mirror is not None else None
    if mirror is not None and not mirror.is_dir():
        raise MissingInputError(f"sources.mirror: {mirror} is not a directory")
    on_hub = [part for part in parts if part.spec.repositories]
    if params.sources.origin == "hub":
        lock = read_lock()
        directories = {part.name: cached(part.name, lock) for part in on_hub}
        for part in parts:
            if part not in on_hub and mirror is None:
                raise MissingInputError(
                    f"{part.name} is not on the hub: {part.spec.obtain}, which sources.mirror names"
                )
        fill(directories, on_hub, lock)
    else:
        lock = read_lock() if LOCK.exists() else Lock()
        directories = {}
    if mirror is not None:
        directories = {part.name: mirror / part.name for part in parts} | directories
    copy(directories, parts, raw)
    return {part.name: _origin(part, raw / part.name, directories, lock) for part in parts}


def _origin(
    part: Part, directory: Path, directories: dict[str, Path], lock: Lock
) -> dict[str, Any]:
    known = check_pins(part, directory, lock)
    evaluation = part.spec.evaluation
    if evaluation is not None and not part.evaluation:
        reason = f"{evaluation.reason}, and sources.evaluation_sets is 'exclude'"
        known["left_out"] = {"files": list(evaluation.files or ()), "reason": reason}
        _say(f"{part.name}: without {', '.join(evaluation.files or ())}: {reason}")
    unpinned = known["unpinned_files"]
    if unpinned:
        shown = ", ".join(unpinned[:_SHOWN_FILES]) + ", .." * (len(unpinned) > _SHOWN_FILES)
        _say(
            f"{part.name}: what {LOCK} does not know is taken as it is: {shown} "
            f"({len(unpinned)} in {directories[part.name]})"
        )
    return known


def _copy_benchmarks(directory: Path, target: Path) -> dict[str, str]:
    """Makes the benchmarks a part of the raw data, so that they are versioned with it."""
    found = {}
    for file in benchmark_files(directory):
        copied = target / file.relative_to(directory)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)
        found[file.relative_to(directory).as_posix()] = sha256_file(copied)
    return found


def _describe(
    name: str, directory: Path, languages: Sequence[str], manifest: Manifest
) -> dict[str, Any]:
    """Reads a source once, which checks its columns, and counts its rows."""
    spec = load_spec(name)
    files: dict[str, Any] = {}
    for file in native_files(spec, directory, languages):
        rows = 0
        for row in native_rows(spec, file, languages):
            manifest.keep(name, row.language)
            rows += 1
        files[file.relative] = {
            "sha256": sha256_file(file.path),
            "bytes": file.path.stat().st_size,
            "rows": rows,
        }
    return {
        "title": spec.title,
        "licence": spec.licence,
        "commercial_use": spec.commercial_use,
        "files": files,
    }


def _report_excluded(excluded: dict[str, str]) -> None:
    for name, reason in excluded.items():
        _say(f"{name} is left out: {reason}")


def _report_empty(sources: Sequence[str], languages: Sequence[str], manifest: Manifest) -> None:
    for name in sources:
        covered = [code for code in load_spec(name).languages if code in languages]
        empty = [code for code in covered if not manifest.kept[name, code]]
        if empty:
            _say(f"{name}: no rows in {', '.join(empty)}")


def _say(line: str) -> None:
    tqdm.write(f"fetch: {line}")
