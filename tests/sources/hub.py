"""The sample, published on the hub of the tests as the real sources are on the real one."""

from collections.abc import Iterable
from pathlib import Path

from minilingua.core.files import tree_files
from minilingua.core.languages import LANGUAGES
from minilingua.sources.spec import load_spec
from tests.hub_server import COMMIT, Hub, Repository


def publish(hub: Hub, raw: Path, names: Iterable[str]) -> None:
    """Makes the data sets of some sources, each with a script that nobody may ask for."""
    for name in names:
        for identifier, repository in load_spec(name).hub_repositories(LANGUAGES).items():
            top = raw / name / repository.into
            files = {
                file.relative_to(top).as_posix(): file.read_bytes()
                for file in tree_files(top)
                if file.name != "facts.json"
            }
            hub.repositories[f"datasets/{identifier}"] = Repository(
                files=files | {"README.md": b"# A card", "loader.py": b"raise SystemExit"},
                commit=repository.revision or COMMIT,
                refs=(repository.ref,),
            )


def revision_of(name: str) -> str:
    """Returns the commit that the spec of a source names."""
    (repository,) = load_spec(name).repositories
    assert repository.revision is not None
    return repository.revision
