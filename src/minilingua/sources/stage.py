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
from minilingua.sources.spec import load_spec

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
            _copy(Path(params.sources.mirror), raw, sources, params.languages)
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


def _copy(mirror: Path, raw: Path, sources: Sequence[str], languages: Sequence[str]) -> None:
    """Copies the files that the specs name, once it is known that none is missing."""
    if not mirror.is_dir():
        raise MissingInputError(f"sources.mirror: {mirror} is not a directory")
    copies: list[tuple[Path, Path]] = []
    for name in sources:
        spec = load_spec(name)
        if not (mirror / name).is_dir():
            raise MissingInputError(f"{mirror / name} is missing: the mirror has no {spec.title}")
        copies += [
            (file.path, raw / name / file.relative)
            for file in native_files(spec, mirror / name, languages)
        ]
    with tqdm(
        total=sum(original.stat().st_size for original, _ in copies),
        desc="copy",
        unit="B",
        unit_scale=True,
        disable=None,
    ) as progress:
        for original, copy in copies:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, copy)
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
