"""A group on one scratch: the commands of docs/cluster.md, and what two people then share."""

import grp
import os
import re
import stat
from pathlib import Path

from tests.pipeline.workspace import ROOT, checkout

STAGE = "fetch"


def test_two_checkouts_of_a_group_share_one_cache_by_links(tmp_path: Path) -> None:
    cache = tmp_path / "scratch/dvc-cache"
    group = _another_group()
    once, each = _commands(cache, group)
    first = checkout(tmp_path / "first")
    before = os.umask(0o077)  # of a person whose own files are for nobody else
    try:
        first.run("bash", "-ec", once + each)
        first.run("dvc", "repro", STAGE)
    finally:
        os.umask(before)
    said = first.run("minilingua", "doctor", "--cluster", "local").stdout
    assert re.search(r"good +team .*shared with the group", said), said
    second = checkout(tmp_path / "second")
    second.run("bash", "-ec", each)
    for path in (cache, *(cache / "files").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode & 0o2070 == 0o2070, path
            assert path.stat().st_gid == grp.getgrnam(group).gr_gid, path
        else:  # read by all, as it keeps the group of its checkout, and changed by nobody
            assert mode == 0o444, path

    (second.path / "dvc.lock").write_bytes((first.path / "dvc.lock").read_bytes())
    second.run("dvc", "checkout", STAGE)
    files = [path for path in (second.path / "data/raw").rglob("*") if path.is_file()]
    full = [path for path in files if path.stat().st_size]  # DVC makes empty ones anew
    assert len(full) > 100
    for path in full:
        twin = first.path / path.relative_to(second.path)
        assert path.samefile(twin), f"{path} was copied"
    assert second.repro(STAGE) == []


def _commands(cache: Path, group: str) -> tuple[str, str]:
    """Returns what the guide says to do once, and in every checkout."""
    section = (ROOT / "docs/cluster.md").read_text().partition("## A team")[2].partition("\n## ")[0]
    once, each = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert "chgrp project" in once
    place = ("/scratch/project/dvc-cache", str(cache))
    return once.replace("chgrp project", f"chgrp {group}").replace(*place), each.replace(*place)


def _another_group() -> str:
    """Returns a group that we may give files to, if possible not the one that they have anyway."""
    mine = [gid for gid in (100, *os.getgroups()) if gid != os.getgid()]
    usable = mine if os.getuid() == 0 else [gid for gid in mine if gid in os.getgroups()]
    return grp.getgrgid((usable or [os.getgid()])[0]).gr_name
