"""A fetch that is killed in the middle of a file goes on there: real processes, real variables."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minilingua.params_file import load_params
from tests.hub_server import Repository, serve
from tests.sources.hub import revision_of

REPOSITORY = Path(__file__).parents[2]
MEBIBYTE = 1 << 20
PIECE = 10 * MEBIBYTE
"""What huggingface_hub writes at once."""


def write_params(path: Path) -> None:
    raw = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    raw["languages"] = ["sv"]
    raw["sources"] |= {"origin": "hub", "licence": "any", "include": ["bactrian_x"]}
    path.write_text(json.dumps(raw))


def published() -> bytes:
    """A file of 24 MiB, stored rather than compressed."""
    row = {"instruction": "Skriv.", "input": "", "id": "alpaca-1", "output": "x" * MEBIBYTE}
    lines = "\n".join(json.dumps(row) for _ in range(24))
    return gzip.compress(lines.encode(), compresslevel=0, mtime=0)


def halting(data: bytes, after: int) -> Callable[[Any], bool]:
    """Sends the beginning of a file and then nothing, with the connection left open."""

    def act(request: Any) -> bool:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[:after])
        request.server.hub.released.wait(120)
        request.close_connection = True
        return True

    return act


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "nothing arrived within two minutes"
        time.sleep(0.02)


def test_a_killed_fetch_is_continued_and_its_token_is_told_to_nobody(tmp_path: Path) -> None:
    data = published()
    write_params(tmp_path / "params.yaml")
    home = tmp_path / "home"
    with serve() as hub:
        files = {f"data/{code}.json.gz": data for code in
                 ("en", "de", "es", "fr", "it", "pt", "nl", "pl", "cs", "fi", "sv")}  # fmt: skip
        hub.repositories["datasets/MBZUAI/Bactrian-X"] = Repository(
            files=files, commit=revision_of("bactrian_x")
        )
        environment = {
            **os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home), "HF_TOKEN": "hf_verysecret", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

        def start(*arguments: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, "-m", "minilingua", "fetch", *arguments],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

        def parts() -> list[Path]:
            return [part for part in home.rglob("*.part") if part.stat().st_size == 2 * PIECE]

        pinned = start("--pin", "--source", "bactrian_x")
        said = pinned.communicate(timeout=120)[0]
        assert pinned.returncode == 0, said
        hub.faults["sv.json.gz"] = [halting(data, 2 * PIECE + 1000)]
        killed = start()
        wait_for(lambda: bool(parts()))
        killed.send_signal(signal.SIGKILL)
        said += killed.communicate(timeout=120)[0]
        assert killed.returncode == -signal.SIGKILL
        assert not (tmp_path / "data/raw").exists()
        again = start()
        said += again.communicate(timeout=120)[0]
        assert again.returncode == 0, said
    assert hub.ranges("sv.json.gz") == [None, f"bytes={2 * PIECE}-"]
    assert (tmp_path / "data/raw/bactrian_x/data/sv.json.gz").read_bytes() == data
    assert list(home.glob("assets/minilingua/sources/*/data/*")) != []
    assert not parts()
    told = {headers.get("authorization") for path, headers in hub.requests if "MBZUAI" in path}
    assert told == {"Bearer hf_verysecret"}
    assert "verysecret" not in said
