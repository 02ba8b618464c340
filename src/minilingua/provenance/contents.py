"""Contents by DVC's hashes: what a file or directory was, in whatever cache still has it.

md5       ─► <cache>/files/md5/ab/cdef..      a file's bytes
md5.dir   ─► the same path, a JSON list of {md5, relpath}: a directory's files
"""

import configparser
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DVC = Path(".dvc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Caches of some checkouts, in the order in which they are looked through."""

    caches: tuple[Path, ...]

    @classmethod
    def of(cls, roots: Sequence[Path]) -> "Contents":
        """Returns the caches of checkouts, each once."""
        return cls(caches=tuple(dict.fromkeys(map(cache_of, roots))))

    def file(self, md5: str) -> Path | None:
        """Returns a file with these bytes; None where no cache has it."""
        for cache in self.caches:
            path = cache / "files/md5" / md5[:2] / md5[2:]
            if path.exists():
                return path
        return None

    def listing(self, md5: str) -> dict[str, str] | None:
        """Returns relative path ─► md5 of a directory's files; of a file, itself as ``""``.

        None where no cache knows the directory.
        """
        if not md5.endswith(".dir"):
            return {"": md5}
        path = self.file(md5)
        if path is None:
            return None
        return {entry["relpath"]: entry["md5"] for entry in json.loads(path.read_bytes())}


def cache_of(root: Path) -> Path:
    """Returns the cache of a checkout, as its DVC configuration names it."""
    named = ""
    for name in ("config", "config.local"):  # the second one has the last word
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(root / DVC / name, encoding="utf-8")
        named = parser.get("cache", "dir", fallback=named)
    # A relative path is relative to the configuration.
    return root / DVC / named if named else root / DVC / "cache"
