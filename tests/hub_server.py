"""A server on loopback that speaks the part of the hub's API that huggingface_hub uses here.

    GET /api/datasets/<id>[/revision/<ref>]?blobs=True       commit, files, sizes, checksums
    GET /datasets/<id>/resolve/<commit>/<path>               content, with Range

and the same for models, without ``datasets/``. Faults are queued for a path and happen once each.
"""

import hashlib
import json
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_BYTES = 100
"""Files from this size on are stored in LFS, where the hub knows their SHA-256."""

Handler = Callable[["_Request"], bool]
"""Answers a request and returns True, or leaves it to be answered as usual."""


@dataclass(slots=True)
class Repository:
    """One repository with a single commit."""

    files: dict[str, bytes]
    commit: str = COMMIT
    refs: tuple[str, ...] = ("main",)
    is_gated: bool = False


@dataclass(slots=True)
class Hub:
    """The state of the server, and what it was asked."""

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    """``datasets/owner/name`` or ``models/owner/name``."""
    faults: dict[str, list[Handler]] = field(default_factory=lambda: defaultdict(list))
    """End of a path ─► faults of the next requests for it."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Path and headers (lower case) of every request."""
    released: threading.Event = field(default_factory=threading.Event)
    """Ends stalls when the test does."""

    def paths(self, end: str = "") -> list[str]:
        return [path for path, _ in self.requests if path.endswith(end)]

    def ranges(self, end: str) -> list[str | None]:
        return [headers.get("range") for path, headers in self.requests if path.endswith(end)]


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written apart
    server: "_Server"

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        hub = self.server.hub
        path = unquote(urlsplit(self.path).path)
        hub.requests.append((path, {name.lower(): value for name, value in self.headers.items()}))
        for end, faults in hub.faults.items():
            if path.endswith(end) and faults and faults.pop(0)(self):
                return
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            self._info(hub, "/".join(parts[1:4]), parts[4:])
        else:
            parts = parts if parts[0] == "datasets" else ["models", *parts]
            self._content(hub, "/".join(parts[:3]), parts[4], "/".join(parts[5:]))

    def _info(self, hub: Hub, name: str, rest: list[str]) -> None:
        repository = hub.repositories.get(name)
        if repository is None:
            self.refuse(404, "RepoNotFound")
            return
        ref = "/".join(rest[1:]) or "main"
        if ref not in (*repository.refs, repository.commit):
            self.refuse(404, "RevisionNotFound")
            return
        siblings = [_sibling(path, data) for path, data in repository.files.items()]
        about = {"id": name.partition("/")[2], "sha": repository.commit, "siblings": siblings,
                 "private": False, "gated": repository.is_gated, "tags": [],
                 "downloads": 0, "likes": 0}  # fmt: skip
        self.answer(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _content(self, hub: Hub, name: str, commit: str, path: str) -> None:
        repository = hub.repositories.get(name)
        if repository is None:
            self.refuse(404, "RepoNotFound")
        elif repository.is_gated and "authorization" not in {h.lower() for h in self.headers}:
            self.refuse(401, "GatedRepo")
        elif commit != repository.commit:
            self.refuse(404, "RevisionNotFound")
        elif path not in repository.files:
            self.refuse(404, "EntryNotFound")
        else:
            self.send_data(repository.files[path])

    def send_data(self, data: bytes, cut: int | None = None) -> None:
        """Sends a content, or the part that is asked for; ``cut`` ends it early."""
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        headers = {"ETag": '"etag"', "X-Repo-Commit": COMMIT}
        if "Range" in self.headers:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        self.send_response(206 if "Range" in self.headers else 200)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> bool:
        self.send_response(status)
        for name, value in ((headers or {}) | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        return True

    def refuse(self, status: int, code: str) -> bool:
        return self.answer(status, headers={"X-Error-Code": code, "X-Error-Message": code})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a client that went away, as one does that has waited long enough."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _sibling(path: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    about: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": blob}
    if len(data) >= LFS_BYTES:
        digest = hashlib.sha256(data).hexdigest()
        about["lfs"] = {"size": len(data), "sha256": digest, "pointerSize": 130}
    return about


def status(code: int, **headers: str) -> Handler:
    """Answers with a status and headers (underscores for hyphens)."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: request.answer(code, headers=named)


def truncated(data: bytes, cut: int) -> Handler:
    """Promises all of the data and breaks the connection after ``cut`` bytes."""

    def act(request: _Request) -> bool:
        request.send_data(data, cut)
        return True

    return act


def wrong(data: bytes) -> Handler:
    """Sends other data than the repository has."""

    def act(request: _Request) -> bool:
        request.send_data(data)
        return True

    return act


def stalled(request: _Request) -> bool:
    """Accepts the request and says nothing until the test ends."""
    request.server.hub.released.wait(30)
    request.close_connection = True
    return True


def redirected(url: str) -> Handler:
    """Sends the client to another server, as the hub does for large files."""
    return lambda request: request.answer(302, headers={"Location": url})


@contextmanager
def serve() -> Iterator[Hub]:
    """Runs a server on a free port of loopback."""
    server = _Server(("127.0.0.1", 0), _Request)
    server.hub = Hub(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.hub
    finally:
        server.hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
