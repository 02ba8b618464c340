"""The command ``minilingua release``: the model and all that explains it, in one directory.

    models/hf ────────────────► models/release/  weights, tokenizer, template (hard links)
    reports/evaluation.json ──►                  evaluation.json, evaluation/
    reports/train/events.jsonl ►                 events.jsonl
    git, dvc.lock, params, .. ►                  passport.json, README.md (model card), report.html

It is not a DVC output, so the passport can name dvc.lock and the commit.
"""

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minilingua.core.files import require, staged_directory, tree_files, write_text
from minilingua.params_file import validate_params
from minilingua.provenance.data_record import read_sources
from minilingua.provenance.lineage import EVALUATION, EVALUATION_DETAILS, MODEL, read_lineage
from minilingua.provenance.passport import check_code, write_passport
from minilingua.provenance.scores import read_scores
from minilingua.provenance.training_record import EVENTS, read_published
from minilingua.report.command import PAGE, render
from minilingua.report.content import gather
from minilingua.tracking.card import model_card

RELEASE = Path("models/release")
_KEPT_BACK = ("answers.jsonl",)
"""Quotes rows of the test data, as the report's sample answers do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Raises:
        MissingInputError: an output of a stage is missing; the message names the stage.
        DataError: the outputs on disk are not of one line.
    """
    argparse.ArgumentParser(
        prog="minilingua release",
        description=f"Put the model, its evaluation, a model card and a passport into {RELEASE}/. "
        "Run it after `dvc repro`.",
    ).parse_args(argv)
    build_release()
    print(f"model: {RELEASE}/")  # noqa: T201 - this is the program's output
    return 0


def build_release() -> None:
    """Writes ``models/release/``, replacing the one before.

    Raises:
        MissingInputError: as for ``main``.
        DataError: as for ``main``.
    """
    require(MODEL, made_by="minilingua convert")
    training = read_published()
    scores = read_scores()
    check_code(read_lineage())
    content = gather()
    passport = content.passport
    params = validate_params(passport["params"], f"parameters of run {training.run_key}")
    sources = read_sources()
    write_text(PAGE, render(content))
    # Answers quote rows of the test data, whose licences need not be the model's.
    page = render(replace(content, answers=()))
    with staged_directory(RELEASE) as aside:
        for file in tree_files(MODEL):
            _link(file, aside / file.relative_to(MODEL))
        _link(EVALUATION, aside / EVALUATION.name)
        _link(EVENTS, aside / EVENTS.name)
        for file in sorted(EVALUATION_DETAILS.glob("*")):
            if file.name not in _KEPT_BACK:
                _link(file, aside / "evaluation" / file.name)
        digest = write_passport(aside / "passport.json", passport)
        write_text(aside / "report.html", page)
        card = model_card(params, training, passport, scores, sources, digest)
        write_text(aside / "README.md", card)


def _link(source: Path, target: Path) -> None:
    """Links a file, or copies it to another file system. Outputs are never changed in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    original = source.resolve()  # DVC may have put a symbolic link to its cache here
    try:
        os.link(original, target)
    except OSError:
        shutil.copyfile(original, target)
