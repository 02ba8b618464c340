import io
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from minilingua.images.rootfs import ChunkStream, rootfs_digest

Entry = tuple[str, str, str]
"""Name, type (file, directory, link or hard) and contents or target."""
FILES: list[Entry] = [
    ("usr", "directory", ""),
    ("usr/a", "file", "one"),
    ("usr/b", "link", "a"),
    ("usr/c", "hard", "usr/a"),
]


def _tar(entries: Sequence[Entry], mode: int = 0o644, time: int = 0, prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    kinds = {
        "file": tarfile.REGTYPE,
        "directory": tarfile.DIRTYPE,
        "link": tarfile.SYMTYPE,
        "hard": tarfile.LNKTYPE,
    }
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, contents in entries:
            info = tarfile.TarInfo(prefix + name)
            info.type, info.mtime, info.uid = kinds[kind], time, time
            info.mode = mode | 0o111 if kind == "directory" else mode
            if kind == "file":
                info.size = len(contents)
            elif kind != "directory":
                info.linkname = (prefix if kind == "hard" else "") + contents
            archive.addfile(info, io.BytesIO(contents.encode()))
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return rootfs_digest(io.BytesIO(data))


def test_times_owners_order_and_prefix_do_not_matter() -> None:
    first = _digest(_tar(FILES))
    assert first.startswith("sha256:")
    assert len(first) == len("sha256:") + 64
    assert _digest(_tar(FILES, time=99)) == first
    assert _digest(_tar(FILES, prefix="./")) == first
    reordered = [FILES[2], FILES[1], FILES[3], FILES[0]]
    assert _digest(_tar(reordered)) == first


@pytest.mark.parametrize(
    "changed",
    [
        FILES[:-1],
        [*FILES[:1], ("usr/a", "file", "two"), *FILES[2:]],
        [*FILES[:2], ("usr/b", "link", "c"), FILES[3]],
        [*FILES, ("usr/d", "file", "")],
    ],
)
def test_names_contents_and_targets_matter(changed: list[Entry]) -> None:
    assert _digest(_tar(changed)) != _digest(_tar(FILES))
    assert _digest(_tar(FILES, mode=0o755)) != _digest(_tar(FILES))


def test_a_hard_link_is_the_file_that_it_names() -> None:
    copied = [*FILES[:3], ("usr/c", "file", "one")]
    assert _digest(_tar(copied)) == _digest(_tar(FILES))


def test_what_an_engine_puts_there_does_not_matter() -> None:
    started: list[Entry] = [
        ("proc/1", "file", "x"),
        ("tmp/x", "file", "x"),
        (".singularity.d/env", "file", "x"),
        ("etc/hosts", "file", "x"),
        ("etc/group", "file", "x"),
    ]
    assert _digest(_tar([*FILES, *started])) == _digest(_tar(FILES))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can look as somebody else")
def test_who_looks_does_not_matter(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name, mode in (("a", 0o644), ("shadow", 0o640), ("root/b", 0o644), ("c/d", 0o644)):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(mode)
    os.link(tmp_path / "tree/shadow", tmp_path / "tree/shadow-")
    (tmp_path / "tree/root").chmod(0o700)
    tar = ("tar", "--create", "--ignore-failed-read", "--file=-", ".")
    seen = []
    for user in (0, 65534):
        with (tmp_path / str(user)).open("wb") as stream:
            subprocess.run(tar, cwd=tmp_path / "tree", stdout=stream, user=user, check=True)
        seen.append((tmp_path / str(user)).read_bytes())
    assert b"root/b" in seen[0]
    assert b"root/b" not in seen[1]
    assert _digest(seen[0]) == _digest(seen[1])


@pytest.mark.parametrize("size", [1, 7, 512, 1 << 20])
def test_chunks_are_read_like_a_file(size: int) -> None:
    data = _tar(FILES)
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    assert rootfs_digest(ChunkStream(chunks)) == _digest(data)  # type: ignore[arg-type]  # it reads
    assert ChunkStream(iter([b"ab", b"c"])).read() == b"abc"
