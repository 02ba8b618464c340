"""What can go wrong between here and the hub: what passes is tried again, the rest is one line.

Apart from ``core.hub`` because importing huggingface_hub takes time that most runs need not spend.
"""

import errno
import os
import re
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_token, parse_ratelimit_headers
from tqdm import tqdm

from minilingua.core.errors import DownloadError
from minilingua.core.hub import HubRepository, endpoint

ATTEMPTS = 5
"""Tries of a request that fails for a passing reason."""
LONGEST_WAIT = 600.0
"""Seconds; a hub that asks for more is not waited for."""

_TOO_MANY = 429
_PASSING = frozenset({408, _TOO_MANY, 500, 502, 503, 504})
_RESUMED_BY_CLIENT = (httpx2.ConnectError, httpx2.TimeoutException, httpx2.RemoteProtocolError)
"""``http_get`` itself resumes after these, and waits after 408 and 429, five times each."""

Result = TypeVar("Result")


def patiently(
    call: Callable[[], Result],
    repository: HubRepository,
    what: str,
    *,
    is_resuming: bool = False,
) -> Result:
    """Returns what a call returns, tried again while it fails for a passing reason.

    Waits as long as the server asks for, else 1, 2, 4 and 8 seconds, and says so.

    Args:
        call: asks the hub.
        repository: whom it asks, for messages.
        what: what it asks for, for messages.
        is_resuming: the call is a transfer, which has tried again by itself where that helps.

    Raises:
        DownloadError: it keeps failing, or fails for good.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except HFValidationError as error:
            raise DownloadError(f"{repository.id!r} is no id of the hub: {error}") from error
        except (httpx2.HTTPError, OSError) as error:
            wait = _wait(error, attempt, is_resuming=is_resuming)
            if wait is None or attempt == ATTEMPTS:
                raise DownloadError(f"{what}: {_explain(error, repository)}") from error
            said = f"{what}: {_name(error)}; trying again in {wait:g} s ({attempt}/{ATTEMPTS - 1})"
            tqdm.write(said, file=sys.stderr)
            time.sleep(wait)
    raise AssertionError("unreachable")


def _wait(error: Exception, attempt: int, *, is_resuming: bool) -> float | None:
    """Returns the seconds to wait before the next try, or None when there should be none."""
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status not in _PASSING or (is_resuming and status in {408, _TOO_MANY}):
            return None
        asked = _asked_wait(error.response)
        if asked is not None:
            return asked if asked <= LONGEST_WAIT else None
    elif not isinstance(error, httpx2.TransportError) or (
        is_resuming and isinstance(error, _RESUMED_BY_CLIENT)
    ):
        return None
    return float(2 ** (attempt - 1))


def _asked_wait(response: httpx2.Response) -> float | None:
    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    asked = response.headers.get("Retry-After", "").strip()
    return float(asked) if asked.isdigit() else None


def _explain(error: Exception, repository: HubRepository) -> str:
    """Returns what happened and what helps, in one line, without addresses that hold secrets."""
    where = _host()
    if isinstance(error, GatedRepoError):
        return (
            f"{where} refuses access ({error.response.status_code}, gated): accept the terms on "
            f"{repository.page} and set HF_TOKEN to a token of that account{_token_state()}"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{where} has no such revision of {repository.id}"
    if isinstance(error, RemoteEntryNotFoundError):
        return f"{where} has no such file (404)"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{where} has no {repository.kind} {repository.id} (404), or only for those who may "
            f"see it{_token_state()}"
        )
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error.response, repository)
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so that nothing is downloaded"
    if isinstance(error, httpx2.TimeoutException):
        return f"{where} did not answer in time; what has arrived is kept, run it again to go on"
    if isinstance(error, httpx2.HTTPError):
        return (
            f"no connection to {where} ({_name(error)}); what has arrived is kept, run it again "
            "to go on"
        )
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return f"{os.strerror(error.errno)}; what has arrived is kept, run it again to go on"
    return _name(error)


def _explain_status(response: httpx2.Response, repository: HubRepository) -> str:
    where, status = _host(), response.status_code
    if status == _TOO_MANY:
        asked = _asked_wait(response)
        later = f"in {asked:g} s" if asked is not None else "later"
        return f"{where} has too many requests of ours (429): run it again {later}{_token_state()}"
    if status in {401, 403}:
        return (
            f"{where} refuses access ({status}): {repository.page} may ask for consent to its "
            f"terms, and for HF_TOKEN{_token_state()}"
        )
    return f"{where} answers {status}; what has arrived is kept, run it again to go on"


def _token_state() -> str:
    return " (no token is set)" if get_token() is None else " (a token is set)"


def _host() -> str:
    """Returns the name of the hub; an address might hold a password."""
    return httpx2.URL(endpoint()).host


def _name(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"the hub answers {error.response.status_code}"
    said = re.sub(r"\s+", " ", str(error)).strip()
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
