"""What an image is built from: the files of the checkout that the recipe copies."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from minilingua.core.errors import LaunchError
from minilingua.core.files import sha256_file
from minilingua.images.lock import LOCK

RECIPE_LOCK = Path("containers/requirements.txt")
CONTENTS = ("LICENSE", "README.md", "params.yaml", "pyproject.toml", "containers", "src")
"""As .dockerignore lists them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A directory with just the files that are built in."""

    path: Path
    revision: str
    """The commit, with ``-dirty`` if files that are built in differ from it."""
    lock_hash: str
    """SHA-256 of the recipe's lock."""

    def arguments(self, reference: str, pin: str) -> dict[str, str]:
        """Returns the build arguments that both recipes take."""
        return {
            "BASE_IMAGE": reference,
            "BASE_DIGEST": pin,
            "GIT_REVISION": self.revision,
            "LOCK_HASH": self.lock_hash,
        }


@contextmanager
def build_context() -> Iterator[Context]:
    """Yields a copy of what git knows (or does not ignore) of the files that are built in.

    Raises:
        LaunchError: this is no git checkout.
    """
    names = _git("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *CONTENTS)
    changed = _git("status", "--porcelain", "--", *CONTENTS, f":(exclude){LOCK}").strip()
    revision = _git("rev-parse", "HEAD").strip() + ("-dirty" if changed else "")
    with TemporaryDirectory(prefix="minilingua-image-") as directory:
        path = Path(directory)
        for name in sorted(set(filter(None, names.split("\0")))):
            source, target = Path(name), path / name
            # The lock of images says what was built: it cannot be in what is built.
            if source.is_file() and source != LOCK:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        yield Context(path=path, revision=revision, lock_hash=sha256_file(RECIPE_LOCK))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - the git on PATH
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise LaunchError("git is not on PATH; an image states the commit it holds") from error
    if done.returncode != 0:
        raise LaunchError(f"git {arguments[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout
