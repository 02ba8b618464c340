"""The raw data by source, with licence and digest, from ``data/raw/manifest.json``."""

import json
from dataclasses import dataclass
from pathlib import Path

from minilingua.core.errors import DataError
from minilingua.core.files import require
from minilingua.core.seeding import content_id
from minilingua.sources.spec import load_spec

MANIFEST = Path("data/raw/manifest.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """One source as it was fetched."""

    name: str
    title: str
    hub: str | None
    """Hugging Face data set id, where the source is one data set of the hub."""
    licence: str
    rows: int
    digest: str
    """Over the names and SHA-256 of its files."""


def read_sources() -> list[SourceRecord]:
    """Returns the sources that were fetched.

    Raises:
        MissingInputError: nothing was.
        DataError: the manifest is not what the stage ``fetch`` writes.
    """
    text = require(MANIFEST, made_by="minilingua fetch").read_text(encoding="utf-8")
    records = []
    try:
        for name, found in json.loads(text)["sources"].items():
            spec = load_spec(name)
            files = sorted(f"{path}\x1f{about['sha256']}" for path, about in found["files"].items())
            records.append(
                SourceRecord(
                    name=name,
                    title=spec.title,
                    hub=spec.hub,
                    licence=found["licence"],
                    rows=found["rows"],
                    digest=content_id("\n".join(files)),
                )
            )
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DataError(f"{MANIFEST}: not a manifest of fetch ({error!r})") from error
    return records
