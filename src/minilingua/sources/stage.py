"""The `fetch` stage: raw data of every source, in its native layout.

sample:  facts of CLDR ──────────┐
mirror:  <mirror>/<source>/.. ───┴► data/raw/<source>/..   data/raw/manifest.json
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
from minilingua.sources.native import native_files, native_rows
from minilingua.sources.spec import SourceSpec, load_spec

RAW = Path("data/raw")


def run(params: Params) -> None:
    """Generates or copies the raw data and checks that it can be read.

    Raises:
        MissingInputError: the mirror, one of its sources or one of their files is missing.
        DataError: a file is not what its source's spec says.
        ParamsError: the sample cannot be as large as asked for.
    """
    sources = sorted(params.sources.include)
    manifest = Manifest(stage="fetch")
    manifest.details["origin"] = params.sources.origin
    manifest.details["sources"] = {}
    with staged_directory(RAW) as raw:
        licence = None
        if params.sources.mirror is not None:
            mirror = Path(params.sources.mirror)
            if not mirror.is_dir():
                raise MissingInputError(f"sources.mirror: {mirror} is not a directory")
            for name in sources:
                _copy(load_spec(name), mirror / name, raw / name, params.languages)
        else:
            from minilingua.sources.sample.generate import LICENCE, generate

            licence = LICENCE
            generate(raw, sources, params.languages, params.sources.sample, params.seed)
        for name in tqdm(sources, desc="check", unit="source", disable=None):
            described = _describe(name, raw / name, params.languages, manifest)
            if licence is not None:
                described |= {"licence": licence, "commercial_use": True}
            manifest.details["sources"][name] = described
        manifest.write(raw / "manifest.json")


def _copy(spec: SourceSpec, source: Path, target: Path, languages: Sequence[str]) -> None:
    if not source.is_dir():
        raise MissingInputError(f"{source} is missing: the mirror has no {spec.title}")
    files = native_files(spec, source, languages)
    size = sum(file.path.stat().st_size for file in files)
    with tqdm(
        total=size, desc=target.name, unit="B", unit_scale=True, unit_divisor=1024, disable=None
    ) as progress:
        for file in files:
            copy = target / file.relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.path, copy)
            progress.update(copy.stat().st_size)


def _describe(
    name: str, directory: Path, languages: Sequence[str], manifest: Manifest
) -> dict[str, Any]:
    """Reads a source through, counts its rows and returns what the manifest says about it."""
    spec = load_spec(name)
    files: dict[str, dict[str, Any]] = {}
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
