"""Everything that can go wrong because of what a user gave us, as one tree.

    MiniLinguaError                 one clear line for the terminal, exit code 2
     ├── ParamsError                params.yaml, conf/ or a command line
     ├── DataError                  a row, file or column of the data
     ├── MissingInputError          a file that an earlier stage or the user has to provide
     ├── OutputError                a place where nothing can be written: full, read-only, denied
     ├── DownloadError              the hub, the network or the disk did not let a file through
     ├── CheckpointError            weights or optimizer state that cannot be used
     ├── RunBusyError               another process holds the run directory or a mirror
     ├── ParityError                converted weights do not compute what the original does
     ├── LaunchError                the place where a stage should run is not usable
     ├── LostRankError              another process of the same training is gone
     └── TrackingError              the MLflow store cannot be used

A defect of ours is never one of these: it keeps its traceback.
"""

import difflib
import errno
from collections.abc import Iterable

EXIT_BAD_INPUT = 2
EXIT_PREEMPTED = 75
"""The worker was asked to stop (SIGTERM, SIGUSR1), has saved, and wants to be started again.

75 is EX_TEMPFAIL of sysexits.h: "temporary failure, the user is invited to retry".
"""

EXIT_LOST_RANK = 76
"""A rank ended because another one had (EX_PROTOCOL); that one's exit code is the training's."""


class MiniLinguaError(Exception):
    """Base of all errors that are shown as one line, without a traceback."""

    exit_code = EXIT_BAD_INPUT


class ParamsError(MiniLinguaError):
    """A parameter is missing, unknown, of the wrong type or contradicts another one."""


class DataError(MiniLinguaError):
    """A data file holds something that its format does not allow."""


class MissingInputError(MiniLinguaError):
    """A file or directory that has to be there is not."""


class OutputError(MiniLinguaError):
    """An output cannot be written: the disk is full, read-only, or access is denied."""


class DownloadError(MiniLinguaError):
    """A file cannot be had from the hub, or is not what its checksum says."""


class CheckpointError(MiniLinguaError):
    """A checkpoint is incomplete, damaged or belongs to another run."""


class RunBusyError(MiniLinguaError):
    """Another live process writes the same directory."""


class ParityError(MiniLinguaError):
    """Two implementations of one model disagree by more than the tolerance."""


class LaunchError(MiniLinguaError):
    """The launcher, image or cluster that was asked for cannot be used."""


class LostRankError(MiniLinguaError):
    """An exchange failed because another rank has ended; that one tells why."""

    exit_code = EXIT_LOST_RANK


class TrackingError(MiniLinguaError):
    """The MLflow store cannot be used."""


def did_you_mean(found: str, allowed: Iterable[str]) -> str:
    """Returns ``" (did you mean 'x'?)"`` for the nearest allowed name, or an empty string."""
    near = difflib.get_close_matches(found, list(allowed), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


_ENVIRONMENT = frozenset(
    {
        errno.EACCES,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EEXIST,
        errno.EFBIG,
        errno.EIO,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
        errno.ESTALE,
    }
)
"""What the machine refuses. Any other ``OSError`` is a defect of ours and keeps its traceback."""


def output_error(error: OSError, where: object = None) -> OutputError | None:
    """Returns what to tell a user of a refusal by the machine, or None if ``error`` is a defect.

    Args:
        error: as caught.
        where: the file or directory to name; by default the one that the error names.
    """
    if error.errno not in _ENVIRONMENT:
        return None
    return OutputError(f"{where or error.filename or 'output'}: cannot be used: {error.strerror}")
