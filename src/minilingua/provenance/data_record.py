"""The raw data by source, with licence and digest, from ``data/raw/manifest.json``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minilingua.core.errors import DataError
from minilingua.core.files import read_json
from minilingua.core.seeding import content_id
from minilingua.sources.spec import load_spec

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
                    hub=tuple(sorted(load_spec(name).hub_repositories(kept))),
                    licence=found["licence"],
                    commercial_use=found["commercial_use"],
                    rows=sum(kept.values()),
                    digest=content_id("\n".join(files)),
                )
            )
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{MANIFEST}: not a manifest of fetch ({error!r})") from error
    return records
