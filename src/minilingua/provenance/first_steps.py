"""The first steps of a training once more, compared with those on record.

inputs of `train`, rebuilt ─► minilingua train ─► step N is written ─► SIGTERM ─► events up to N
"""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from minilingua.core.errors import EXIT_PREEMPTED, DataError
from minilingua.core.events import Event, StepEvent, compact, read_events
from minilingua.provenance.grading import TOLERANCE, Verdict, largest_loss_difference
from minilingua.provenance.state import State

TRAIN = "train"
_LOOK_S = 0.2
_CLUSTER = "MINILINGUA_CLUSTER"


def stages_before_training(state: State) -> list[str]:
    """Returns the stages whose outputs the training reads, in the order of the line.

    Raises:
        DataError: the state does not tell of a training.
    """
    if TRAIN not in state.stages:
        raise DataError(f"{state.name} tells of no stage {TRAIN}; --steps needs one")
    read = state.stages[TRAIN].deps.keys()
    return [name for name, stage in state.stages.items() if stage.outs.keys() & read]


def up_to(state: State, steps: int) -> State:
    """Returns a state with the first steps of its training, and nothing that follows from the rest.

    Raises:
        DataError: there are fewer.
    """
    trained = [event.step for event in state.events if isinstance(event, StepEvent)]
    if steps < 1 or not trained or trained[-1] < steps:
        known = f"{trained[-1]} steps" if trained else "no step"
        raise DataError(f"--steps {steps}: {state.name} holds the events of {known}")
    before = {*stages_before_training(state)}
    kept = {name: stage for name, stage in state.stages.items() if name in _closure(state, before)}
    events = tuple(event for event in state.events if event.step <= steps and event.kind != "end")
    return replace(state, stages=kept, events=events, evaluation={})


def train_steps(clone: Path, steps: int, environment: Mapping[str, str]) -> tuple[Event, ...]:
    """Trains in a clone, here, until a step is done; returns its events, replays reconciled.

    Raises:
        DataError: the training failed.
    """
    here = {name: value for name, value in environment.items() if name != _CLUSTER}
    process = subprocess.Popen([sys.executable, "-m", "minilingua", "train"], cwd=clone, env=here)
    try:
        with tqdm(total=steps, desc="steps", unit="step", disable=None) as progress:
            while process.poll() is None:
                time.sleep(_LOOK_S)
                progress.update(min(_last_step(clone), steps) - progress.n)
                if progress.n == steps:
                    process.send_signal(signal.SIGTERM)  # it saves, which the clone can afford
                    break
        code = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if code not in {0, EXIT_PREEMPTED}:
        raise DataError(f"the training in {clone} ended with exit code {code}")
    return tuple(_events(clone))


def grade_steps(differing: Sequence[str], expected: State, found: State) -> Verdict:
    """Returns how near the first steps are to those on record.

    Args:
        differing: outputs of the stages before the training with another hash.
        expected: as ``up_to`` returns it.
        found: likewise, of what was made again.
    """
    if differing:
        return Verdict(grade="different", reason=f"other contents: {', '.join(differing[:3])}")
    if expected.events == found.events:
        reason = "the inputs have the same hashes, and every loss and sample id is the same"
        return Verdict(grade="bit-identical", reason=reason)
    largest = largest_loss_difference(expected.events, found.events)
    if largest is not None and largest <= TOLERANCE:
        reason = f"losses differ by {largest:.1e} at most, {TOLERANCE:g} is allowed"
        return Verdict(grade="within tolerance", reason=reason)
    told = "other conversations" if largest is None else f"losses differ by up to {largest:.1e}"
    return Verdict(grade="different", reason=told)


def _closure(state: State, names: set[str]) -> set[str]:
    """Returns stages and all that they descend from."""
    found = set(names)
    while True:
        read = {path for name in found for path in state.stages[name].deps}
        more = {name for name, stage in state.stages.items() if stage.outs.keys() & read} - found
        if not more:
            return found
        found |= more


def _last_step(clone: Path) -> int:
    return max((event.step for event in _events(clone) if isinstance(event, StepEvent)), default=0)


def _events(clone: Path) -> list[Event]:
    """Returns the events of the clone's training, of which there is one."""
    return [
        event for path in clone.glob("runs/*/events.jsonl") for event in compact(read_events(path))
    ]
