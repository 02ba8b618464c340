"""The raw data by source, with licence and digest, from ``data/raw/manifest.json``."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minilingua.core.errors import DataError
from minilingua.core.files import read_json
from minilingua.core.seeding import content_id
from minilingua.sources.spec import SourceSpec, load_spec

MANIFEST = Path("data/raw/manifest.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """One source as it was fetched."""

    name: str
    title: str
    hub: tuple[str, ...]
    """Ids of its data sets on the Hugging Face hub."""
    licence: str
    commercial_use: bool | Literal["unknown"]
    rows: int
    digest: str
    """Over the names and SHA-256 of its files."""


def read_sources() -> list[SourceRecord]:
    """Returns the sources that were fetched.

    Raises:
        MissingInputError: nothing was.
        DataError: the manifest is not what the stage ``fetch`` writes.
    """
    manifest = read_json(MANIFEST, made_by="minilingua fetch")
    records = []
    try:
        for name, found in sorted(manifest["details"]["sources"].items()):
            kept = manifest["kept"].get(name, {})
            files = sorted(f"{path}\x1f{about['sha256']}" for path, about in found["files"].items())
            records.append(
                SourceRecord(
                    name=name,
                    title=found["title"],
                    hub=_hub_ids(load_spec(name), kept),
                    licence=found["licence"],
                    commercial_use=found["commercial_use"],
                    rows=sum(kept.values()),
                    digest=content_id("\n".join(files)),
                )
            )
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{MANIFEST}: not a manifest of fetch ({error!r})") from error
    return records


def _hub_ids(spec: SourceSpec, languages: Iterable[str]) -> tuple[str, ...]:
    """Returns one id, or one for each language where a source has a data set for each."""
    if spec.hub is None:
        return ()
    named = dict(spec.languages)  # its keys are a closed set of literals; ours come from a file
    return tuple(sorted({spec.hub.format(language=named[code]) for code in languages}))
