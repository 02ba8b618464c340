"""``minilingua passport MODEL``: what a model was made from, read and checked."""

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError
from minilingua.core.files import read_json, require, sha256_file
from minilingua.provenance.state import PASSPORT

RELEASE = Path("models/release")
_NAMED = re.compile(r"^\| SHA-256 of passport\.json \| `([0-9a-f]{64})` \|$", flags=re.MULTILINE)
"""How the model card names the passport."""
_OF_AN_ATTEMPT = (
    "outcome", "first_step", "last_step", "commit", "device", "driver", "image_digest",
    "slurm_job", "world_size", "layout", "torch",
)  # fmt: skip
"""What is printed of an attempt, in this order; --json has the rest."""


def main(argv: Sequence[str]) -> int:
    """Prints a passport and checks the model's files against it; exit code 1 if one is another.

    Raises:
        MissingInputError: there is no passport.
        DataError: it is none.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua passport",
        description="Prints what a released model was made from, and checks its files against it. "
        "Exit code 1 if a file is missing or another.",
    )
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        default=RELEASE,
        help=f"directory with {PASSPORT} (default: {RELEASE})",
    )
    parser.add_argument("--json", action="store_true", help="the passport itself")
    arguments = parser.parse_args(argv)
    directory: Path = arguments.model
    path = require(directory / PASSPORT, made_by="minilingua release")
    passport = read_json(path)
    try:
        problems = [*_problems(directory, passport["model"]), *_card_problem(directory)]
        lines = list(_lines(passport))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a passport ({error!r})") from error
    if arguments.json:
        print(json.dumps(passport, ensure_ascii=False, indent=2))  # noqa: T201
    else:
        print("\n".join(lines))  # noqa: T201
        checked = f"files: {len(passport['model'])} with the hashes of the passport"
        print("\n".join(problems) or checked)  # noqa: T201
    return 1 if problems else 0


def _problems(directory: Path, files: Mapping[str, str]) -> Iterator[str]:
    for name, sha256 in files.items():
        if not (directory / name).exists():
            yield f"file {name} is missing"
        elif sha256_file(directory / name) != sha256:
            yield f"file {name} is not the one that was released"


def _card_problem(directory: Path) -> Iterator[str]:
    """Yields what is wrong if the model card beside the passport names another one."""
    card = directory / "README.md"
    named = _NAMED.search(card.read_text(encoding="utf-8")) if card.exists() else None
    if named and named[1] != sha256_file(directory / PASSPORT):
        yield f"{PASSPORT} is not the one that README.md names: one of them was changed"


def _lines(passport: Mapping[str, Any]) -> Iterator[str]:
    code, params = passport["code"], passport["params"]
    changed = f", {len(code['changed'])} files changed since" if code["changed"] else ""
    yield f"experiment      {params['experiment']}"
    yield f"run key         {passport['run_key']}"
    yield f"commit          {code['commit'] or 'unknown'}{changed}"
    yield f"dvc.lock        {passport['pipeline']['dvc_lock_sha256'] or 'none'} (SHA-256)"
    yield f"recipe          {passport['recipe']['sha256'] or 'none'} (SHA-256 of the image's lock)"
    packages = passport["environment"]["packages"]
    told = [f"{name} {packages[name]}" for name in ("torch", "megatron-core") if name in packages]
    yield f"environment     Python {passport['environment']['python']}, {', '.join(told)}"
    yield f"processor       {passport['environment']['cpu']}"
    for attempt in passport["attempts"]:
        shown = ", ".join(
            f"{name.replace('_', ' ')} {attempt[name]}"
            for name in _OF_AN_ATTEMPT
            if name in attempt
        )
        yield f"attempt {attempt['attempt']:<8}{shown}"
    for job in passport.get("slurm_jobs", ()):
        yield f"Slurm job       {', '.join(f'{name} {value}' for name, value in job.items())}"
    stopping = passport["early_stopping"]
    loss = f"{stopping['best_loss']:.4f}"
    yield f"selected        step {stopping['best_step']}, validation loss {loss}"
    rows = passport["token_ledger"]
    if rows and "conversations" in rows[0]:
        total = sum(int(row["conversations"]) for row in rows)
        yield f"schedule        {total:,} conversations in {len(rows)} languages"
