"""sources.lock: what the hub says, for just the files of the spec, and strict when read."""

import hashlib
import json
from pathlib import Path

import pytest

from minilingua.core.errors import DataError, DownloadError, MissingInputError, ParamsError
from minilingua.core.languages import LANGUAGES
from minilingua.sources.native import native_files
from minilingua.sources.pins import Lock, ask_hub, digests, pins_of, read_lock, write_lock
from minilingua.sources.spec import load_spec
from tests.hub_server import COMMIT, Hub
from tests.sources.conftest import SAMPLE_SOURCES
from tests.sources.hub import publish, revision_of

ON_HUB = [name for name in SAMPLE_SOURCES if load_spec(name).repositories]


def test_every_source_is_pinned_with_the_files_that_it_reads(hub: Hub, sample_raw: Path) -> None:
    publish(hub, sample_raw, ON_HUB)
    for name in ON_HUB:
        spec = load_spec(name)
        pinned = ask_hub(name, spec)
        assert {each.id for each in pinned} == set(spec.hub_repositories(LANGUAGES))
        wanted = spec.hub_repositories(LANGUAGES)
        assert all(each.revision == (wanted[each.id].revision or COMMIT) for each in pinned)
        files = digests(pinned)
        expected = native_files(spec, sample_raw / name, LANGUAGES)
        assert set(files) == {file.relative for file in expected}
        for file in expected:
            data = file.path.read_bytes()
            assert files[file.relative].bytes == len(data)
            if files[file.relative].digest.startswith("sha256"):
                assert files[file.relative].digest[7:] == hashlib.sha256(data).hexdigest()
    assert "/api/datasets/sbx/superlim-2/revision/refs/convert/parquet" in hub.paths()
    assert not any("resolve" in path for path in hub.paths())


def test_files_that_are_elsewhere_are_named(hub: Hub, sample_raw: Path) -> None:
    publish(hub, sample_raw, ["bactrian_x"])
    repository = hub.repositories["datasets/MBZUAI/Bactrian-X"]
    repository.files["finnish/train.json.gz"] = repository.files.pop("data/fi.json.gz")
    with pytest.raises(DataError) as caught:
        ask_hub("bactrian_x", load_spec("bactrian_x"))
    assert str(caught.value) == (
        "sources/specs/bactrian_x.yaml: no file on the hub for fi; expected "
        "data/{language}.json.gz; found data/cs.json.gz, data/de.json.gz, data/en.json.gz, "
        "data/es.json.gz, data/fr.json.gz, data/it.json.gz, data/nl.json.gz, data/pl.json.gz and 3 "
        "more"
    )
    repository.files.clear()
    with pytest.raises(DataError, match=r"for en, de, .*; found no data files"):
        ask_hub("bactrian_x", load_spec("bactrian_x"))


@pytest.mark.usefixtures("hub")
def test_a_source_that_is_not_on_the_hub_says_where_it_is() -> None:
    with pytest.raises(ParamsError, match="polyglot_prompt is not on the hub: follow the README"):
        ask_hub("polyglot_prompt", load_spec("polyglot_prompt"))
    with pytest.raises(DownloadError, match="has no dataset CohereLabs/aya_dataset"):
        ask_hub("aya", load_spec("aya"))


def test_the_lock_comes_back_and_has_the_same_bytes(
    hub: Hub, sample_raw: Path, tmp_path: Path
) -> None:
    publish(hub, sample_raw, ["alpaca", "exams"])
    pins = {name: ask_hub(name, load_spec(name)) for name in ("alpaca", "exams")}
    write_lock(Lock(sources=pins), tmp_path / "a")
    write_lock(Lock(sources=dict(reversed(pins.items()))), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_lock(tmp_path / "a").sources == pins


def test_only_the_data_sets_of_the_languages_are_needed(hub: Hub, sample_raw: Path) -> None:
    publish(hub, sample_raw, ["alpaca"])
    spec = load_spec("alpaca")
    lock = Lock(sources={"alpaca": ask_hub("alpaca", spec)})
    assert [each.id for each in pins_of("alpaca", spec, ["en", "fi"], lock)] == [
        "pinzhenchen/alpaca-cleaned-fi", "yahma/alpaca-cleaned",
    ]  # fmt: skip
    some = Lock(sources={"alpaca": lock.sources["alpaca"][:2]})
    with pytest.raises(ParamsError, match=r"does not pin pinzhenchen/alpaca-cleaned-fi at main"):
        pins_of("alpaca", spec, ["de", "fi"], some)
    without = [each.model_copy(update={"files": ()}) for each in lock.sources["alpaca"]]
    with pytest.raises(ParamsError, match=r"has no file of alpaca for de, fi; `minilingua fetch"):
        pins_of("alpaca", spec, ["de", "fi"], Lock(sources={"alpaca": tuple(without)}))
    with pytest.raises(ParamsError, match=r"aya is not pinned in sources.lock; .*--pin --source"):
        pins_of("aya", load_spec("aya"), ["en"], lock)


def test_a_spec_that_names_a_commit_is_pinned_at_it(hub: Hub, sample_raw: Path) -> None:
    publish(hub, sample_raw, ["aya"])
    spec = load_spec("aya")
    pins = ask_hub("aya", spec)
    assert hub.paths(f"/revision/{revision_of('aya')}")
    assert not hub.paths("/revision/main")
    assert pins_of("aya", spec, ["fi"], Lock(sources={"aya": pins})) == pins
    earlier = (pins[0].model_copy(update={"revision": COMMIT}),)
    with pytest.raises(ParamsError, match=rf"does not pin .*aya_dataset at {revision_of('aya')}, "):
        pins_of("aya", spec, ["fi"], Lock(sources={"aya": earlier}))
    hub.repositories["datasets/CohereLabs/aya_dataset"].commit = COMMIT
    with pytest.raises(DownloadError, match="has no"):
        ask_hub("aya", spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"revision": "main"}, r"sources\.aya\.0\.revision: String should match"),
        ({"revison": COMMIT}, r"sources\.aya\.0\.revison: Extra inputs"),
        (
            {"files": [{"path": "a", "bytes": 1, "digest": "md5:00"}]},
            r"digest: String should match",
        ),
        ({"files": [{"path": "../a", "bytes": 1, "digest": "git-sha1:" + "0" * 40}]}, "no path"),
        ({"into": "/etc"}, "'/etc/a' is no path below a directory"),
    ],
)
def test_a_lock_that_was_changed_by_hand_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    file = {"path": "a", "bytes": 1, "digest": "git-sha1:" + "0" * 40}
    pin = {"id": "o/n", "ref": "main", "revision": COMMIT, "into": "", "files": [file]}
    path = tmp_path / "sources.lock"
    path.write_text(json.dumps({"version": 1, "sources": {"aya": [pin]}}))
    read_lock(path)
    path.write_text(json.dumps({"version": 1, "sources": {"aya": [pin | change]}}))
    with pytest.raises(DataError, match=message) as caught:
        read_lock(path)
    assert "\n" not in str(caught.value)


def test_a_missing_or_broken_lock_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="lock is missing; `minilingua fetch --pin` writes"):
        read_lock(tmp_path / "sources.lock")
    (tmp_path / "sources.lock").write_text("<<<<<<< HEAD")
    with pytest.raises(DataError, match=r"sources\.lock: file: Invalid JSON"):
        read_lock(tmp_path / "sources.lock")


def test_the_committed_lock_is_of_the_specs_as_they_are() -> None:
    lock = read_lock(Path(__file__).parents[2] / "sources.lock")
    assert lock.sources
    for name in lock.sources:
        spec = load_spec(name)
        assert pins_of(name, spec, list(spec.languages), lock)
