"""The executable ``train``: trains what params.yaml describes, here and now. It never launches.

    params.yaml ─► run key ─► runs/<run key>/ ─┬─ finished ──────────────────────► publish
                                               └─ not yet ─► train or go on ─────► publish

`minilingua train` is what DVC calls; it decides where a training runs and starts this program
there. With RANK and WORLD_SIZE set it is one of the ranks that share a training (layout.py).
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from minilingua.core.errors import EXIT_PREEMPTED, MiniLinguaError, output_error
from minilingua.core.events import EndEvent
from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.training.layout import plan_layout
from minilingua.training.run_directory import RunDirectory, open_run
from minilingua.training.run_key import identify_run
from minilingua.training.stop_request import StopRequest


def main(argv: Sequence[str] | None = None) -> int:
    """Trains and publishes; returns the exit code.

    0: published. 2: bad input, one line on standard error. ``EXIT_PREEMPTED``: asked to stop,
    saved, and to be started again.
    """
    parser = argparse.ArgumentParser(
        prog="train",
        description="Fine-tunes models/base on data/plan as params.yaml in the current directory "
        "says. Goes on from the latest checkpoint in runs/; a finished training is published "
        "again without training.",
    )
    parser.add_argument(
        "--fresh", action="store_true", help="forget this training's run directory and train anew"
    )
    parser.add_argument(
        "--preflight",
        action="store_true",
        help="check all that the training needs, try its largest micro batch, tell what it will "
        "take, and train nothing",
    )
    arguments = parser.parse_args(argv)
    try:
        if arguments.preflight:
            return _preflight(load_params())
        return _run(load_params(), fresh=arguments.fresh)
    except (MiniLinguaError, OSError) as error:
        told = output_error(error) if isinstance(error, OSError) else error
        if told is None:
            raise
        print(f"train: error: {told}", file=sys.stderr)  # noqa: T201 - the terminal's line
        return told.exit_code
    except KeyboardInterrupt:
        print("train: interrupted", file=sys.stderr)  # noqa: T201 - as above
        return 130


def _run(params: Params, *, fresh: bool) -> int:
    stop = StopRequest()
    stop.listen()
    identity = identify_run(params)
    run = open_run(identity.key)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    layout = plan_layout(params, ranks)
    is_writer = int(os.environ.get("RANK", "0")) == 0
    with ExitStack() as stack:
        if is_writer:
            # A killed `dvc` leaves its training alive: the next one ends with that one's model. But
            # no other rank waits meanwhile, and no job that somebody pays for.
            if ranks == 1 and "SLURM_JOB_ID" not in os.environ:
                run.await_holder(stop.noticed)
                if stop.noticed():
                    return EXIT_PREEMPTED
            stack.enter_context(run.lock())
            if fresh:
                run.clear()
        if ranks == 1 and stop.noticed():  # several have to meet first, or some would wait
            return EXIT_PREEMPTED
        end = run.finished() if is_writer else None
        if ranks > 1 or end is None:  # with several ranks, only the first knows whether it ended
            # Before torch is loaded: threads that spin while they wait take the core from the
            # thread they wait for as soon as anything else runs on the machine.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            from minilingua.training.session import train

            trained = train(params, identity, run, end, layout, stop, is_writer=is_writer)
            if trained is None:
                return EXIT_PREEMPTED
            end = trained
        if is_writer:
            _publish(run, end)
    return 0


def _preflight(params: Params) -> int:
    layout = plan_layout(params, int(os.environ.get("WORLD_SIZE", "1")))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from minilingua.training.session import preflight

    preflight(params, layout, is_writer=int(os.environ.get("RANK", "0")) == 0)
    return 0


def _publish(run: RunDirectory, end: EndEvent) -> None:
    from minilingua.training.publish import publish

    run.name_as_current()
    publish(run)
    print(  # noqa: T201 - the result
        f"train: step {end.best_step} of {end.step} selected, "
        f"validation loss {end.best_loss:.4f} ({run.path})",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
