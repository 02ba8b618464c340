from pathlib import Path

from minilingua.provenance.contents import Contents, cache_of
from tests.provenance.dvc_cache import store, store_directory


def test_files_and_listings_are_found_in_any_cache(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    file = store(one, b"a")
    directory = store_directory(other, {"x/y": b"b", "z": b"a"})
    contents = Contents.of([one, other, one])
    assert len(contents.caches) == 2
    found = contents.file(file)
    assert found is not None
    assert found.read_bytes() == b"a"
    listing = contents.listing(directory)
    assert listing is not None
    assert listing.keys() == {"x/y", "z"}
    assert listing["z"] == file
    assert contents.listing(file) == {"": file}
    assert contents.file("0" * 32) is None
    assert contents.listing("0" * 32 + ".dir") is None


def test_the_cache_is_where_the_configuration_says(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    assert cache_of(tmp_path) == tmp_path / ".dvc/cache"
    (tmp_path / ".dvc/config").write_text("[cache]\n    dir = ../shared\n    type = symlink\n")
    assert cache_of(tmp_path).resolve() == (tmp_path / "shared").resolve()
    (tmp_path / ".dvc/config.local").write_text("[cache]\n    dir = /scratch/100%\n")
    assert cache_of(tmp_path) == Path("/scratch/100%")
