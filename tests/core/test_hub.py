"""Downloads: the real client against a server on loopback that fails in every way we know."""

import hashlib
import io
import shutil
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from tqdm import tqdm

from minilingua.core import hub_download as module
from minilingua.core.errors import DownloadError, RunBusyError
from minilingua.core.hub import HubRepository, RemoteFile, check_path, list_repository
from minilingua.core.hub_download import download, exclusive, is_complete
from tests.hub_server import (
    COMMIT,
    Hub,
    Repository,
    redirected,
    serve,
    stalled,
    status,
    truncated,
    wrong,
)

DATA = HubRepository(kind="dataset", id="owner/name")
LARGE = bytes(range(256)) * 400
SMALL = b"a few bytes"


@pytest.fixture(autouse=True)
def repository(hub: Hub) -> Repository:
    files = {"data/large.bin": LARGE, "small.txt": SMALL, "empty.txt": b""}
    hub.repositories["datasets/owner/name"] = Repository(files=files)
    return hub.repositories["datasets/owner/name"]


def get(directory: Path, *paths: str) -> "tqdm[None]":
    _, files = list_repository(DATA, "main")
    chosen = [(file, directory / file.path) for file in files if file.path in paths or not paths]
    total = sum(file.bytes for file, _ in chosen)
    progress: tqdm[None] = tqdm(total=total, file=io.StringIO())
    download(DATA, COMMIT, chosen, progress)
    progress.close()
    assert progress.n == progress.total
    return progress


@contextmanager
def impatience() -> Iterator[None]:
    """Lets the client wait a fraction of a second only."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        yield


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*") if path.is_file())


def test_the_listing_has_commit_sizes_and_checksums() -> None:
    commit, files = list_repository(DATA, "main")
    assert commit == COMMIT
    blob = hashlib.sha1(b"blob 11\0" + SMALL).hexdigest()  # noqa: S324 - as git does
    assert files == [
        RemoteFile(
            path="data/large.bin",
            bytes=len(LARGE),
            digest=f"sha256:{hashlib.sha256(LARGE).hexdigest()}",
        ),
        RemoteFile(
            path="empty.txt", bytes=0, digest="git-sha1:e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        ),
        RemoteFile(path="small.txt", bytes=11, digest=f"git-sha1:{blob}"),
    ]


def test_files_arrive_once_and_stay(hub: Hub, tmp_path: Path) -> None:
    get(tmp_path / "out")
    assert (tmp_path / "out/data/large.bin").read_bytes() == LARGE
    assert left(tmp_path / "out") == ["empty.txt", "large.bin", "small.txt"]
    asked = len(hub.paths())
    get(tmp_path / "out")
    assert hub.paths()[asked:] == ["/api/datasets/owner/name/revision/main"]


def test_a_damaged_file_is_downloaded_again(tmp_path: Path) -> None:
    get(tmp_path / "out")
    (tmp_path / "out/data/large.bin").write_bytes(LARGE[::-1])
    (tmp_path / "out/small.txt").unlink()
    get(tmp_path / "out")
    assert (tmp_path / "out/data/large.bin").read_bytes() == LARGE
    assert (tmp_path / "out/small.txt").read_bytes() == SMALL


def test_a_cut_transfer_goes_on_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.faults["large.bin"] = [truncated(LARGE, 70_000), truncated(LARGE, 10_000)]
    get(tmp_path)
    assert (tmp_path / "data/large.bin").read_bytes() == LARGE
    assert hub.ranges("large.bin") == [None, "bytes=70000-", "bytes=80000-"]


def test_another_run_goes_on_where_the_first_was_given_up(hub: Hub, tmp_path: Path) -> None:
    hub.faults["large.bin"] = [truncated(LARGE, 50_000), *[stalled] * 6]
    with impatience(), pytest.raises(DownloadError) as caught:
        get(tmp_path / "out")
    assert str(caught.value) == (
        "owner/name: data/large.bin: 127.0.0.1 did not answer in time; what has arrived is kept, "
        "run it again to go on"
    )
    (part,) = (tmp_path / "out/data").iterdir()
    assert part.stat().st_size == 50_000
    hub.faults.clear()
    get(tmp_path / "out")
    assert (tmp_path / "out/data/large.bin").read_bytes() == LARGE
    assert hub.ranges("large.bin")[-1] == "bytes=50000-"
    assert left(tmp_path / "out") == ["empty.txt", "large.bin", "small.txt"]


def test_a_server_that_knows_no_ranges_starts_over(hub: Hub, tmp_path: Path) -> None:
    def whole(request: object) -> bool:
        del request.headers["Range"]  # type: ignore[attr-defined] # a request of http.server
        return False

    hub.faults["large.bin"] = [truncated(LARGE, 50_000), whole]
    get(tmp_path)
    assert (tmp_path / "data/large.bin").read_bytes() == LARGE


def test_the_hub_is_waited_for_as_long_as_it_asks(
    hub: Hub, tmp_path: Path, waits: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.faults["/revision/main"] = [
        status(429, Retry_After="7"),
        status(429, RateLimit='"api";r=0;t=33'),
        status(503),
    ]
    hub.faults["large.bin"] = [status(429, Retry_After="9"), status(503), status(502)]
    get(tmp_path)
    # The client itself adds a second where it waits for a file.
    assert waits == [7, 33, 4, 10, 1, 2]
    said = capsys.readouterr().err
    assert "owner/name at main: the hub answers 429; trying again in 7 s (1/4)" in said
    assert "owner/name: data/large.bin: the hub answers 503; trying again in 1 s (1/4)" in said


def test_a_hub_that_stays_busy_is_given_up(hub: Hub, waits: list[float]) -> None:
    hub.faults["/revision/main"] = [status(429, Retry_After="7")] * 9
    with pytest.raises(DownloadError) as caught:
        list_repository(DATA, "main")
    assert str(caught.value) == (
        "owner/name at main: 127.0.0.1 has too many requests of ours (429): run it again in 7 s "
        "(no token is set)"
    )
    assert waits == [7] * 4
    hub.faults["/revision/main"] = [status(429, Retry_After="3600")]
    with pytest.raises(DownloadError, match="run it again in 3600 s"):
        list_repository(DATA, "main")
    assert waits == [7] * 4


def test_a_file_whose_server_stays_busy_is_given_up(hub: Hub, tmp_path: Path) -> None:
    hub.faults["large.bin"] = [status(429, Retry_After="5")] * 9
    with pytest.raises(DownloadError, match=r"large\.bin: .*\(429\): run it again in 5 s"):
        get(tmp_path)
    hub.faults["large.bin"] = [status(500)] * 9
    with pytest.raises(DownloadError, match=r"large\.bin: 127\.0\.0\.1 answers 500; what has"):
        get(tmp_path)


def test_a_hub_that_does_not_answer_is_given_up(hub: Hub, waits: list[float]) -> None:
    hub.faults["/revision/main"] = [stalled] * 9
    with (
        impatience(),
        pytest.raises(DownloadError, match=r"main: 127\.0\.0\.1 did not answer in"),
    ):
        list_repository(DATA, "main")
    assert waits == [1, 2, 4, 8]


def test_no_hub_at_all_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://someone:secret@127.0.0.1:9")
    with pytest.raises(DownloadError) as caught:
        list_repository(DATA, "main")
    assert "no connection to 127.0.0.1 (ConnectError" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(waits) == 4


def test_something_that_is_no_hub_is_one_clear_line(hub: Hub) -> None:
    hub.faults["/revision/main"] = [lambda request: request.answer(200, b"<html>log in</html>")]
    with pytest.raises(DownloadError, match=r"is not what the hub does .*HF_ENDPOINT or a proxy"):
        list_repository(DATA, "main")


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (404, "RepoNotFound", r"has no dataset owner/name \(404\), or only for those who may see"),
        (404, "RevisionNotFound", r"127\.0\.0\.1 has no such revision of owner/name"),
        (401, "GatedRepo", r"refuses access \(401, gated\): accept the terms on https://huggi"),
        (403, "GatedRepo", r"refuses access \(403, gated\): .* set HF_TOKEN .*no token is set"),
        (401, "", r"refuses access \(401\): https://huggingface.co/datasets/owner/name may ask"),
        (403, "", r"refuses access \(403\): .* for HF_TOKEN \(no token is set\)"),
        (404, "", r"127\.0\.0\.1 answers 404"),
    ],
)
def test_a_refusal_says_what_helps_and_is_not_repeated(
    hub: Hub, waits: list[float], code: int, error: str, message: str
) -> None:
    hub.faults["/revision/main"] = [lambda request: request.refuse(code, error)]
    with pytest.raises(DownloadError, match=message) as caught:
        list_repository(DATA, "main")
    assert "\n" not in str(caught.value)
    assert waits == []


def test_a_file_that_is_gone_is_named(hub: Hub, tmp_path: Path, repository: Repository) -> None:
    _, files = list_repository(DATA, "main")
    del repository.files["small.txt"]
    pairs = [(file, tmp_path / file.path) for file in files]
    with pytest.raises(DownloadError, match=r"owner/name: small\.txt: 127.* has no such file"):
        download(DATA, COMMIT, pairs, tqdm(disable=True))
    with pytest.raises(DownloadError, match="has no such revision"):
        download(DATA, "f" * 40, [(files[0], tmp_path / "x")], tqdm(disable=True))
    assert hub.paths("x") == []


def test_a_token_opens_a_gated_data_set_and_is_told_to_nobody_else(
    hub: Hub,
    tmp_path: Path,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    repository.is_gated = True
    with pytest.raises(DownloadError, match=r"refuses access \(401, gated\).*no token is set"):
        get(tmp_path / "without")
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    with serve() as other:
        other.repositories["datasets/owner/name"] = Repository(files=repository.files)
        path = f"/datasets/owner/name/resolve/{COMMIT}/data/large.bin"
        hub.faults["large.bin"] = [redirected(other.url + path)]
        get(tmp_path / "with")
    assert (tmp_path / "with/data/large.bin").read_bytes() == LARGE
    assert hub.requests[-1][1]["authorization"] == "Bearer hf_verysecret"
    assert [set(headers) & {"authorization", "cookie"} for _, headers in other.requests] == [set()]
    hub.faults["/revision/main"] = [lambda request: request.refuse(403, "GatedRepo")]
    with pytest.raises(DownloadError, match="a token is set") as caught:
        list_repository(DATA, "main")
    said = capfd.readouterr()
    assert "verysecret" not in str(caught.value) + said.out + said.err


def test_wrong_bytes_are_tried_once_more_and_then_refused(hub: Hub, tmp_path: Path) -> None:
    hub.faults["large.bin"] = [wrong(LARGE[::-1])]
    get(tmp_path / "once")
    assert (tmp_path / "once/data/large.bin").read_bytes() == LARGE
    hub.faults["large.bin"] = [wrong(LARGE[::-1])] * 2
    with pytest.raises(DownloadError) as caught:
        get(tmp_path / "twice")
    found = hashlib.sha256(LARGE[::-1]).hexdigest()
    expected = hashlib.sha256(LARGE).hexdigest()
    assert f"its checksum is sha256:{found} instead of sha256:{expected}" in str(caught.value)
    assert left(tmp_path / "twice") == []


def test_a_file_of_another_size_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.faults["large.bin"] = [wrong(LARGE[:-5])]
    with pytest.raises(DownloadError, match=r"large\.bin: 102,395 bytes came instead of 102,400"):
        get(tmp_path)
    assert left(tmp_path) == []


def test_bytes_of_another_version_are_not_continued(hub: Hub, tmp_path: Path) -> None:
    hub.faults["large.bin"] = [truncated(LARGE, 50_000), *[stalled] * 6]
    with impatience(), pytest.raises(DownloadError):
        get(tmp_path)
    (part,) = (tmp_path / "data").iterdir()
    hub.faults.clear()
    part.write_bytes(b"x" * 60_000)  # a disk or a hand has changed it
    get(tmp_path)
    assert (tmp_path / "data/large.bin").read_bytes() == LARGE
    assert hub.ranges("large.bin")[-2:] == ["bytes=60000-", None]


def test_a_full_disk_is_found_before_the_first_byte(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 100_000))
    with pytest.raises(DownloadError, match=r"No space left on device: 0\.00 GB are needed"):
        get(tmp_path)
    assert hub.paths("large.bin") == []


def test_a_disk_that_fills_up_is_one_clear_line(tmp_path: Path) -> None:
    _, files = list_repository(DATA, "main")
    (tmp_path / "data").mkdir()
    part = module._part(tmp_path / "data/large.bin", files[0])
    part.symlink_to("/dev/full")  # where every write fails for want of space
    with pytest.raises(DownloadError, match=r"large\.bin: No space left on device; what has"):
        download(DATA, COMMIT, [(files[0], tmp_path / "data/large.bin")], tqdm(disable=True))


def test_offline_mode_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        list_repository(DATA, "main")


def test_an_id_that_is_none_is_one_clear_line() -> None:
    with pytest.raises(DownloadError, match="'a/b/c' is no id of the hub"):
        list_repository(HubRepository(kind="dataset", id="a/b/c"), "main")


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", ""])
def test_names_that_leave_the_directory_are_refused(
    path: str, hub: Hub, repository: Repository
) -> None:
    with pytest.raises(ValueError, match="is no path below a directory"):
        check_path(path)
    repository.files[path] = b"x"
    with pytest.raises(DownloadError, match="is no path below a directory"):
        list_repository(DATA, "main")
    assert hub.paths("resolve") == []


def test_size_and_checksum_decide_whether_a_file_is_there(tmp_path: Path) -> None:
    _, files = list_repository(DATA, "main")
    small = next(file for file in files if file.path == "small.txt")
    assert not is_complete(tmp_path / "small.txt", small)
    for content, expected in ((SMALL, True), (SMALL[:-1], False), (SMALL[::-1], False)):
        (tmp_path / "small.txt").write_bytes(content)
        assert is_complete(tmp_path / "small.txt", small) is expected


def test_two_processes_do_not_fill_one_directory(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (
        FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(RunBusyError, match="out: another process is filling it"),
        exclusive(tmp_path / "out"),
    ):
        pass
    with exclusive(tmp_path / "out"):
        pass
