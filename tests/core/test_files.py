"""Files are replaced whole or not at all, and the same values give the same bytes."""

import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.errors import DataError, MissingInputError, OutputError
from minilingua.core.files import (
    canonical_json,
    fresh_aside,
    read_jsonl,
    require,
    staged_directory,
    tree_digest,
    write_bytes,
    write_jsonl,
)
from minilingua.core.records import Message


def test_a_failing_block_leaves_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged_directory(target) as aside:
        (aside / "a").write_text("old")

    def fail_half_way() -> None:
        with staged_directory(target) as aside:
            (aside / "a").write_text("new")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail_half_way()
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_old_directory_is_there_until_the_new_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    with staged_directory(target) as aside:
        (aside / "a").write_text("old")
    replace = Path.replace

    def refuses_the_new_one(self: Path, other: Path) -> Path:
        if (self / "a").read_text() == "new":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", refuses_the_new_one)
    with pytest.raises(OutputError, match="out: cannot be used"), staged_directory(target) as aside:
        (aside / "a").write_text("new")
    assert (target / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


REMOVING = """
import os, shutil, signal, sys
from pathlib import Path
from minilingua.core.files import staged_directory
shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
with staged_directory(Path(sys.argv[1])) as aside:
    (aside / "a").write_text("new")
"""


def test_a_kill_while_the_old_directory_is_removed_leaves_the_new_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with staged_directory(target) as aside:
        (aside / "a").write_text("old")
    done = subprocess.run([sys.executable, "-c", REMOVING, target], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (target / "a").read_text() == "new"
    with staged_directory(target) as aside:
        (aside / "a").write_text("newer")
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_to_a_directory_is_replaced_and_what_it_names_is_kept(tmp_path: Path) -> None:
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    target.symlink_to(elsewhere)
    with staged_directory(target) as aside:
        (aside / "a").touch()
    assert not target.is_symlink()
    assert sorted(tmp_path.iterdir()) == sorted([elsewhere, target])


def test_no_device_is_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="is a device or pipe, which is not replaced"):
        write_bytes(pipe, b"text")
    assert pipe.is_fifo()


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be used: File name too long"):
        write_bytes(tmp_path / ("x" * 300), b"text")


def test_a_hard_linked_copy_is_not_changed_by_a_rewrite(tmp_path: Path) -> None:
    original, cached = tmp_path / "file", tmp_path / "cache"
    write_bytes(original, b"one")
    cached.hardlink_to(original)
    write_bytes(original, b"two")
    assert cached.read_bytes() == b"one"


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=5))
def test_canonical_json_does_not_depend_on_insertion_order(value: dict[str, object]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert canonical_json(value) == canonical_json(backwards)


def test_records_come_back(tmp_path: Path) -> None:
    rows = [
        Message(role="user", content="Ünïcode\n\u2028 line"),
        Message(role="assistant", content=""),
    ]
    path = tmp_path / "rows.jsonl"
    assert write_jsonl(path, rows) == 2
    assert list(read_jsonl(path, Message)) == rows
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"role":"robot","content":"x"}', "role"),
        ('{"role":"user"}', "content"),
        ('{"role":"user","content":3}', "content"),
        ("not json", "line"),
        ('{"role":"user","content":"\udcff"}', "line"),  # a byte that is no UTF-8
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, key: str) -> None:
    path = tmp_path / "rows.jsonl"
    text = '{"role":"user","content":"x"}\n' + line + "\n"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=rf"rows\.jsonl:2: {key}"):
        list(read_jsonl(path, Message))


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="`minilingua fetch` makes it"):
        require(tmp_path / "absent", made_by="minilingua fetch")


def test_tree_digest_sees_names_and_bytes_but_not_byte_code(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = tree_digest(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert tree_digest(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "b")
    assert tree_digest(tmp_path) != before


KILLED = """
import os, signal, sys
from pathlib import Path
from minilingua.core.files import staged_directory
with staged_directory(Path(sys.argv[1])) as aside:
    (aside / "file").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out"
    subprocess.run([sys.executable, "-c", KILLED, target], check=False)
    (left,) = tmp_path.iterdir()
    alive = fresh_aside(target).with_name(left.name.replace(left.name.split(".")[-2], "1"))
    elsewhere = left.with_name(left.name.replace(platform.node(), "another-machine"))
    others = [alive, elsewhere, tmp_path / ".other.tmp", tmp_path / ".tmp", tmp_path / "..tmp"]
    left.mkdir()
    for other in others:
        other.mkdir()
    with staged_directory(target) as aside:
        (aside / "file").touch()
    assert sorted(tmp_path.iterdir()) == sorted([target, *others])
