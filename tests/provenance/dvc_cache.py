"""A DVC cache by hand: files and directories under their hashes."""

import hashlib
import json
from pathlib import Path


def store(root: Path, data: bytes) -> str:
    """Puts a file into the cache of a checkout and returns its hash."""
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    _write(root, md5, data)
    return md5


def store_directory(root: Path, files: dict[str, bytes]) -> str:
    """Puts a directory into the cache of a checkout and returns its hash."""
    listing = [{"md5": store(root, data), "relpath": name} for name, data in sorted(files.items())]
    text = json.dumps(listing, sort_keys=True).encode()
    md5 = hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"
    _write(root, md5, text)
    return md5


def _write(root: Path, md5: str, data: bytes) -> None:
    path = root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
