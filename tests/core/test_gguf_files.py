"""Where GGUF files are, and one line where they are not."""

from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from minilingua.core import gguf_files
from minilingua.core.errors import CheckpointError, MissingInputError
from minilingua.core.gguf_files import find_gguf


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path | None]:
    """The packages that are installed, as far as the module is told."""
    packages: dict[str, Path | None] = {
        "gguf": tmp_path, "accelerate": tmp_path, "weights": tmp_path / "weights",
    }  # fmt: skip

    def find_spec(name: str) -> ModuleSpec | None:
        if packages.get(name) is None:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(packages[name])]
        return spec

    monkeypatch.setattr(gguf_files, "find_spec", find_spec)
    return packages


def test_a_file_and_the_data_of_a_package(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights/tiny.gguf"
    file.write_bytes(b"GGUF and more")
    assert find_gguf("base", str(file)) == file
    assert find_gguf("tokenizer", "package:weights/tiny.gguf") == file


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("package:absent/x.gguf", MissingInputError, r"'absent' is not installed; `make smollm2`"),
        ("package:os.path/x.gguf", MissingInputError, r"'os\.path' is not installed"),
        ("package:weights/x.gguf", MissingInputError, r"x\.gguf is missing; base\.path"),
        ("nowhere.gguf", MissingInputError, r"nowhere\.gguf is missing; base\.path"),
        (__file__, CheckpointError, r"is no GGUF file"),
    ],
)
def test_what_is_not_there_is_named(path: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        find_gguf("base", path)


@pytest.mark.parametrize("reader", ["gguf", "accelerate"])
def test_without_a_reader(installed: dict[str, Path | None], reader: str) -> None:
    installed[reader] = None
    with pytest.raises(MissingInputError, match=f"base.path: reading GGUF needs {reader}; `make"):
        find_gguf("base", __file__)
