"""The command line: a table of commands, each loaded only when it is called.

`minilingua STAGE` is what dvc.yaml runs. Stages take no flags but --help: their parameters are
params.yaml, so that what DVC records is all there is. `fetch`, `tokenize` and `convert` with a flag
are not the stage, but what can be done before it, or with other steps than the selected one.
"""

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minilingua.core.errors import (
    EXIT_BAD_INPUT,
    MiniLinguaError,
    ParamsError,
    did_you_mean,
    output_error,
)


@dataclass(frozen=True, slots=True)
class Command:
    """One sub-command."""

    target: str
    """``module:function``; stages take ``Params``, the others the argument list."""
    summary: str
    is_stage: bool
    with_flags: str | None = None
    """``module:function`` of what a stage's command does when it is given flags instead."""


_WITH_FLAGS = {
    "fetch": "minilingua.sources.commands:fetch",
    "tokenize": "minilingua.chat.tokenize_parts:main",
    "convert": "minilingua.conversion.stage:main",
}
STAGES: dict[str, Command] = {
    name: Command(
        target=target,
        summary=summary,
        is_stage=True,
        with_flags=_WITH_FLAGS.get(name),
    )
    for name, target, summary in (
        ("fetch", "minilingua.sources.stage:run", "raw data of every source"),
        ("mcqa", "minilingua.mcqa.stage:run", "multiple-choice items to instructions"),
        ("curate", "minilingua.curation.stage:run", "filter, shuffle and split conversations"),
        ("tokenizer", "minilingua.chat.tokenizer_stage:run", "train or copy the tokenizer"),
        ("base", "minilingua.base_model.stage:run", "make or copy the base model"),
        ("tokenize", "minilingua.chat.tokenize_stage:run", "conversations to tokens and masks"),
        ("pack", "minilingua.packing.stage:run", "mixture and packs of every step"),
        ("train", "minilingua.launch.train:run", "fine-tune with megatron-core"),
        ("convert", "minilingua.launch.stages:convert", "export to Hugging Face, gated by parity"),
        ("evaluate", "minilingua.launch.stages:evaluate", "score base and result on held-out data"),
    )
}
COMMANDS: dict[str, Command] = {
    "configure": Command(
        "minilingua.configure:main", "compose params.yaml from conf/", is_stage=False
    ),
    **STAGES,
    **{
        name: Command(target=target, summary=summary, is_stage=False)
        for name, target, summary in (
            ("sources", "minilingua.sources.table:main", "list the data sets, with licences"),
            ("preview", "minilingua.preview.command:main", "a page of tokens and loss mask"),
            ("status", "minilingua.launch.status:main", "stages, trainings, last results"),
            ("report", "minilingua.report.command:main", "a page of results, training and data"),
            (
                "passport",
                "minilingua.provenance.passport_command:main",
                "what a released model was made from",
            ),
            ("diff", "minilingua.provenance.diff_command:main", "what two states differ in"),
            (
                "reproduce",
                "minilingua.tracking.reproduce_command:main",
                "build a released model again and grade it",
            ),
            (
                "challenge",
                "minilingua.provenance.challenge:main",
                "whether two machines made the same",
            ),
            (
                "preflight",
                "minilingua.launch.train:preflight",
                "try what a training needs before it is spent",
            ),
            (
                "verify-restart",
                "minilingua.launch.verify_restart:main",
                "certify that a killed training loses nothing",
            ),
            (
                "early-stopping",
                "minilingua.tracking.stopping_replay:main",
                "replay decisions, also under another rule",
            ),
            (
                "throughput",
                "minilingua.tracking.throughput:main",
                "where the time of a training went",
            ),
            ("chat", "minilingua.serving.chat:main", "talk to a model in the terminal"),
            ("compare", "minilingua.tracking.compare:main", "two evaluations, with significance"),
            (
                "benchmarks",
                "minilingua.lm_benchmarks.command:main",
                "the reference's public benchmarks, by lm-eval",
            ),
            ("track", "minilingua.tracking.track:main", "bring MLflow up to date"),
            ("relocate", "minilingua.tracking.relocate:main", "after the repository was moved"),
            ("release", "minilingua.tracking.release:main", "model, card and passport in one"),
            ("image", "minilingua.images.commands:main", "build, pin and verify container images"),
            ("slurm", "minilingua.launch.commands:slurm", "write the batch scripts of a cluster"),
            ("cancel", "minilingua.launch.commands:cancel", "end this checkout's Slurm jobs"),
            ("doctor", "minilingua.launch.doctor:main", "can this cluster run what is described?"),
            ("node", "minilingua.launch.preflight:main", "print what this node offers"),
        )
    },
}
_FED_TO_MLFLOW = ("evaluate",)
"""Stages whose end brings MLflow up to date; a training has a follower while it runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; bad input is one line on standard error."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without ± and ─► shows ?
        sys.stdout.reconfigure(errors="replace")
    try:
        return _dispatch(arguments)
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (MiniLinguaError, OSError) as error:
        told = output_error(error) if isinstance(error, OSError) else error
        if told is None:
            raise
        print(f"minilingua: error: {told}{_restore_hint()}", file=sys.stderr)  # noqa: T201
        return told.exit_code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "minilingua":
            raise
        print(  # noqa: T201
            f"minilingua: error: the package {error.name!r} is not installed here; a container "
            "image has what train, convert and evaluate need, `make setup` installs all outside",
            file=sys.stderr,
        )
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("minilingua: interrupted", file=sys.stderr)  # noqa: T201
        return 130


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_overview())  # noqa: T201 - this is the program's output
        return 0
    if arguments[0] == "--version":
        from importlib.metadata import version

        print(f"minilingua {version('minilingua')}")  # noqa: T201
        return 0
    name, rest = arguments[0], arguments[1:]
    command = COMMANDS.get(name)
    if command is None:
        raise ParamsError(
            f"unknown command {name!r}{did_you_mean(name, COMMANDS)}; `minilingua --help` lists all"
        )
    if not command.is_stage:
        return _load(command.target)(rest) or 0
    if rest and command.with_flags is not None:
        return _load(command.with_flags)(rest) or 0
    parser = argparse.ArgumentParser(
        prog=f"minilingua {name}",
        description=f"Stage {name}: {command.summary}. Its parameters are params.yaml; "
        f"`dvc repro {name}` runs it together with what it depends on.",
    )
    parser.parse_args(rest)
    # Before torch is loaded: threads that spin take the core from the one that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run = _load(command.target)
    from minilingua.params_file import load_params

    code = run(load_params()) or 0
    if code == 0 and name in _FED_TO_MLFLOW:
        _load("minilingua.launch.feed:feed_after_stage")(name)
    return code


def _load(target: str) -> Callable[..., int | None]:
    module, _, function = target.partition(":")
    loaded: Callable[..., int | None] = getattr(importlib.import_module(module), function)
    return loaded


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: minilingua COMMAND [--help]",
            "",
            "Reproducible supervised fine-tuning of MiniLingua. `dvc repro` runs the stages.",
            "",
            *lines,
        ]
    )


def _restore_hint() -> str:
    """DVC deletes a stage's outputs before it runs the stage, and sets DVC_STAGE while it does."""
    if "DVC_STAGE" not in os.environ:
        return ""
    return " [the outputs of the last good run were removed by DVC: `dvc checkout` restores them]"
