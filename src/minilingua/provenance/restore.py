"""A scratch clone in the state that a passport tells of.

commit ─► patch ─► is dvc.lock the one of the passport? ─► does image.lock record its image?
"""

import hashlib
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import read_json
from minilingua.provenance.git_state import git_output

IMAGE_LOCK = "containers/image.lock"
_LOCAL_PATHS = (
    ("sources", "mirror"), ("sources", "benchmarks"), ("tokenizer", "path"), ("base", "path"),
)  # fmt: skip
"""Parameters that name what git does not have."""


def restore(passport: dict[str, Any], clone: Path) -> None:
    """Makes a clone of this repository in the state that a passport tells of.

    Raises:
        MissingInputError: git does not know the commit.
        DataError: the passport does not tell enough, its patch does not apply, or dvc.lock is not
            the one that it names.
    """
    code = passport["code"]
    commit = code["commit"]
    if commit is None:
        raise DataError("the passport names no commit: the model was not made in a git repository")
    if git_output("cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise MissingInputError(f"git does not know the commit {commit}; `git fetch` may bring it")
    if code.get("untracked"):
        shown = ", ".join(code["untracked"][:3])
        say(f"not restored, since git did not have them: {shown}")
    if code["patch_sha256"] is not None and code.get("patch") is None:
        raise DataError(
            f"the model was made from uncommitted changes ({', '.join(code['changed'][:3])}) that "
            "the passport does not hold: it cannot be rebuilt"
        )
    for command in (
        ("clone", "--quiet", "--shared", "--no-checkout", str(Path().absolute()), str(clone)),
        ("-C", str(clone), "checkout", "--quiet", "--detach", commit),
    ):
        if git_output(*command) is None:
            raise DataError(f"git {' '.join(command[:3])} .. failed")
    if code.get("patch"):
        patch = code["patch"].encode()
        if git_output("apply", "--whitespace=nowarn", "-", root=clone, given=patch) is None:
            raise DataError(f"the passport's patch does not apply to {commit}")
    lock = clone / "dvc.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None
    if digest != passport["pipeline"]["dvc_lock_sha256"]:
        raise DataError(f"dvc.lock of {commit} is not the one that the passport names")


def check_image(passport: dict[str, Any], clone: Path) -> None:
    """Makes sure that the image that was trained in is the one that the clone's launcher takes.

    It takes no image but the one of ``containers/image.lock``. Where the training ran in none, or
    runs in none now, that is a difference and no error.

    Raises:
        DataError: the lock records another image.
    """
    used = {str(a["image_digest"]) for a in passport["attempts"] if a.get("image_digest")}
    lock = clone / IMAGE_LOCK
    if not used or not lock.exists():
        return
    about = read_json(lock)
    docker, sif = about.get("docker") or {}, about.get("sif") or {}
    recorded = {str(docker.get("id")), f"sha256:{sif.get('sha256')}"}
    if not used & recorded:
        raise DataError(
            f"the model was trained in the image {', '.join(sorted(used))}, but {IMAGE_LOCK} of "
            f"{passport['code']['commit']} records "
            f"{docker.get('id') or sif.get('sha256') or 'none'}: it cannot be verified"
        )
    say(f"{IMAGE_LOCK} records the image of the training, {', '.join(sorted(used & recorded))}")


def link_local_inputs(params: dict[str, Any], clone: Path) -> None:
    """Makes what the parameters name and git does not have available in a clone."""
    for section, name in _LOCAL_PATHS:
        named = (params.get(section) or {}).get(name)
        if named and not Path(named).is_absolute() and Path(named).exists():
            link = clone / named
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(named).absolute())


def say(line: str) -> None:
    """Prints a line of the command's output."""
    print(line, flush=True)  # noqa: T201 - this is the program's output
