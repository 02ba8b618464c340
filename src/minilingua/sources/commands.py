"""``minilingua fetch`` with flags: pins the sources, or fills a mirror of them beforehand.

Without a flag it is the stage that DVC runs; what a run reads is decided by params.yaml and
sources.lock alone.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from minilingua.core.errors import EXIT_BAD_INPUT, DataError, MiniLinguaError
from minilingua.params_file import load_params
from minilingua.sources.mirror import Part, check_pins, fill
from minilingua.sources.pins import (
    LOCK,
    Lock,
    PinnedRepository,
    ask_hub,
    read_lock,
    write_lock,
)
from minilingua.sources.selection import reads_evaluation_files, select_sources
from minilingua.sources.spec import load_spec, load_specs


def fetch(argv: Sequence[str]) -> int:
    """Runs ``minilingua fetch`` with flags."""
    parser = argparse.ArgumentParser(
        prog="minilingua fetch",
        description="Without flags: the stage fetch, raw data of every source to data/raw. Its "
        "parameters are params.yaml; `dvc repro fetch` runs it. With a flag: what has to be there "
        "before, on a machine that reaches the Hugging Face hub.",
        epilog="HF_TOKEN, HF_ENDPOINT, HF_HOME and HF_HUB_DOWNLOAD_TIMEOUT mean what they mean to "
        "huggingface_hub. Both commands can be run again and go on where they stopped.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--pin",
        action="store_true",
        help=f"ask the hub for the current commit, sizes and checksums, and write {LOCK}",
    )
    what.add_argument(
        "--mirror",
        type=Path,
        metavar="DIR",
        help="download the pinned files into DIR/<source>/, for sources.origin mirror",
    )
    parser.add_argument(
        "--source",
        action="append",
        metavar="NAME",
        help="only this source (may be repeated); default: all that are on the hub to pin, those "
        "that params.yaml would read to mirror",
    )
    arguments = parser.parse_args(argv)
    names = list(dict.fromkeys(arguments.source or ()))
    for name in names:
        load_spec(name)
    return _pin(names) if arguments.pin else _mirror(arguments.mirror, names)


def _pin(names: Sequence[str]) -> int:
    chosen = names or [name for name, spec in load_specs().items() if spec.repositories]
    lock = read_lock() if LOCK.exists() else Lock()
    sources = dict(lock.sources)
    failed = 0
    for name in chosen:
        try:
            sources[name] = ask_hub(name, load_spec(name))
        except MiniLinguaError as error:
            failed += _fail(error)
            continue
        # After each, so that what was pinned stays pinned whatever happens to the next one.
        write_lock(Lock(sources=sources))
        before = {each.id: each.revision for each in lock.sources.get(name, ())}
        for each in sources[name]:
            _say(f"{name}: {_change(each, before.get(each.id))}")
    _say(f"{len(chosen) - failed} of {len(chosen)} sources pinned in {LOCK}")
    return EXIT_BAD_INPUT if failed else 0


def _change(pinned: PinnedRepository, before: str | None) -> str:
    megabytes = sum(file.bytes for file in pinned.files) / 1e6
    files = f"files: {len(pinned.files)}, {megabytes:,.1f} MB"
    if before == pinned.revision:
        return f"{pinned.id} stays at {pinned.revision} ({files})"
    was = f", was {before}" if before else ""
    return f"{pinned.id} at {pinned.revision} ({files}){was}"


def _mirror(directory: Path, names: Sequence[str]) -> int:
    params = load_params()
    # What a run on the real data would read, whatever this params.yaml has for the moment.
    real = params.sources.model_copy(update={"origin": "hub"})
    # A source that is named is wanted as it is, evaluation files too: a mirror is no training set.
    evaluation = bool(names) or reads_evaluation_files(real)
    if not names:
        selection = select_sources(real)
        names = sorted(selection.used)
        for name, reason in selection.excluded.items():
            _say(f"{name} is left out: {reason}; `--source {name}` downloads it all the same")
    lock = read_lock()
    failed = 0
    for name in names:
        part = Part(name=name, languages=params.languages, evaluation=evaluation)
        try:
            if part.spec.repositories:
                fill({name: directory / name}, [part], lock)
            found = check_pins(part, directory / name, lock)
            if part.spec.repositories and found["unpinned_files"]:
                raise DataError(
                    f"{directory / name}: {', '.join(found['unpinned_files'])} would be read too, "
                    f"and {LOCK} does not know them; they may be of an earlier version: remove them"
                )
        except MiniLinguaError as error:
            failed += _fail(error, part.spec.obtain)
            continue
        _say(f"{name}: {len(part.files(directory / name))} files in {directory / name}")
    _say(f"{len(names) - failed} of {len(names)} sources in {directory}")
    return EXIT_BAD_INPUT if failed else 0


def _fail(error: MiniLinguaError, obtain: str | None = None) -> int:
    """Says what is wrong with one source, so that the others still get their turn."""
    hint = f"; it is not on the hub: {obtain}" if obtain else ""
    print(f"minilingua: error: {error}{hint}", file=sys.stderr)  # noqa: T201
    return 1


def _say(line: str) -> None:
    print(f"fetch: {line}")  # noqa: T201 - the command's output
