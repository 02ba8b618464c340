"""The training loop.

    restore ─► evaluate ─► step ─► .. ─► step ─► evaluate ─► save ─► step ─► .. ─► end
                  └► decision ─► best weights, stop?

An evaluation is due before the first step, every ``eval_interval`` steps, and at the end. A state
is saved every ``save_interval`` steps, while training goes on, and when a stop is requested.
"""

import time
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import Literal

from torch import distributed

from minilingua.core.events import EndEvent, EvaluationEvent, SpikeEvent, StepEvent
from minilingua.training.checkpoint import (
    Progress,
    complete_checkpoints,
    latest_checkpoint,
    load_checkpoint,
    prune_checkpoints,
)
from minilingua.training.console import Console, say
from minilingua.training.data import PlannedSplit
from minilingua.training.early_stopping import decide, evaluated
from minilingua.training.engine import DivergenceError, Engine
from minilingua.training.evaluate import evaluate
from minilingua.training.flops import step_flops
from minilingua.training.memory import peak_memory_mb
from minilingua.training.profiler import ProfilerWindow, profiler_window
from minilingua.training.run_directory import RunDirectory
from minilingua.training.saving import Saved, Saver
from minilingua.training.spikes import find_spike, needed_losses
from minilingua.training.stop_request import StopRequest
from minilingua.training.system_usage import SystemMonitor


@dataclass(slots=True, kw_only=True)
class TrainingLoop:
    """One training, from its latest state to its end or to a requested stop."""

    engine: Engine
    validation: PlannedSplit
    run: RunDirectory
    stop: StopRequest
    is_writer: bool
    """This rank writes events, best weights and to the terminal."""
    progress: Progress = field(default_factory=lambda: Progress(step=0, history=()))
    peak: float | None = None
    """Operations a second that all ranks' devices are made for, if that is known."""
    console: Console = field(default_factory=Console)
    monitor: SystemMonitor = field(default_factory=SystemMonitor)
    _last: StepEvent | None = None
    _losses: list[float] = field(default_factory=list)
    _in_spike: bool = False
    _spikes_end_it: bool = False
    _saver: Saver = field(init=False)
    _profiler: ProfilerWindow = field(init=False)

    def __post_init__(self) -> None:
        self._saver = Saver(directory=self.run.checkpoints, run_key=self.run.key)
        self._profiler = profiler_window(self.run.path / "profile", distributed.get_rank())

    def train(self) -> EndEvent | None:
        """Trains; returns how it ended, or None if it was stopped and saved before its end.

        Raises:
            CheckpointError: the latest state cannot be used, or none can be written.
            DivergenceError: a loss or gradient is not finite; the last good state is kept.
        """
        self._restore()
        if self.stop.requested():
            return None  # what there is to save is saved
        steps = self.engine.train.plan.steps
        if self.is_writer:
            self.console.begin(self.progress.step, steps)
        try:
            while True:
                is_evaluated = not self._evaluation_is_due(steps) or self._evaluate()
                if not is_evaluated or self.stop.requested():
                    self._save()
                    self._note(self._saver.wait())
                    return None
                if self.progress.step == steps:
                    self._note(self._saver.wait())
                    return self._end("plan_complete")
                if self._early_stop():
                    self._note(self._saver.wait())
                    return self._end("early_stop")
                if self._save_is_due():
                    self._save()
                self._note(self._saver.poll())
                self._step()
                self._stop_at_spikes()
        finally:
            self._saver.abandon()  # before the ranks part; after a good end there is nothing left
            self.console.end()

    def _restore(self) -> None:
        path = latest_checkpoint(self.run.checkpoints, self.run.key)
        if path is None:
            return
        self.progress = load_checkpoint(self.engine, path)
        events = (event for event in self.run.events() if event.step <= self.progress.step)
        self._losses = [event.loss for event in events if isinstance(event, StepEvent)]
        rule = self.engine.params.train.spikes
        self._in_spike = bool(self._losses) and (
            find_spike(self._losses, rule, self.progress.step) is not None
        )
        if self.is_writer:
            say(f"going on from step {self.progress.step}")

    def _step(self) -> None:
        step = self.progress.step + 1
        self._profiler.before(step)
        began = time.perf_counter()
        event = self.engine.train_step(step)
        seconds = time.perf_counter() - began
        self._profiler.after(step)
        self.progress = Progress(step=step, history=self.progress.history)
        self._last = event
        spike = self._notice_spike(event)
        if not self.is_writer:
            return
        self.run.add(event)
        if spike is not None:
            self._report_spike(spike)
        clock = self.engine.clock
        flops = step_flops(
            self.engine.params.model, self.engine.model.unpadded_vocab_size, clock.work
        )
        mfu = None if self.peak is None else flops / seconds / self.peak
        self.run.telemetry.write(
            "step",
            step=step,
            seconds=seconds,
            data_seconds=clock.data,
            compute_seconds=clock.compute,
            optimizer_seconds=clock.optimizer,
            tokens_per_second=event.tokens / seconds,
            supervised_tokens_per_second=event.supervised_tokens / seconds,
            conversations_per_second=event.conversations / seconds,
            flops_per_second=flops / seconds,
            mfu=mfu,
            memory_mb=peak_memory_mb(),
        )
        self._sample_usage()
        self.console.step(event, seconds, mfu)

    def _notice_spike(self, event: StepEvent) -> SpikeEvent | None:
        """Returns the spike of a step, if it is one."""
        rule = self.engine.params.train.spikes
        self._losses = [*self._losses, event.loss][-needed_losses(rule) :]
        spike = find_spike(self._losses, rule, event.step)
        self._in_spike = spike is not None
        self._spikes_end_it = spike is not None and spike.in_a_row >= rule.patience
        return spike

    def _report_spike(self, spike: SpikeEvent) -> None:
        self.run.add(spike)
        say(
            f"step {spike.step}: the loss {spike.loss:.3f} is far above {spike.median:.3f}, the "
            f"median of those before ({spike.in_a_row} in a row)"
        )

    def _stop_at_spikes(self) -> None:
        """Ends a training whose loss stays up.

        Raises:
            DivergenceError: as many spikes in a row as patience.
        """
        if not self._spikes_end_it:
            return
        self._note(self._saver.wait())
        states = complete_checkpoints(self.run.checkpoints)
        kept = f"the state of step {states[-1]} is kept" if states else "no state was saved before"
        raise DivergenceError(
            f"step {self.progress.step}: the loss was far above the median of those before for "
            f"{self.engine.params.train.spikes.patience} steps in a row; {kept}; a lower train.lr "
            "or train.clip_grad may help"
        )

    def _evaluation_is_due(self, steps: int) -> bool:
        step, history = self.progress.step, self.progress.history
        if history and history[-1].step == step:
            return False
        return step % self.engine.params.train.eval_interval == 0 or step == steps

    def _evaluate(self) -> bool:
        """Evaluates and decides, unless a stop was requested meanwhile; tells whether it did."""
        step = self.progress.step
        began = time.perf_counter()
        event = evaluate(self.engine, self.validation, step, self.stop.requested)
        if event is None:
            return False
        history = (*self.progress.history, evaluated(event))
        decision = decide(history, self.engine.params.train.early_stopping)
        self.progress = Progress(step=step, history=history)
        if decision.best_step == step:
            tensors = self.engine.weights()
            if self.is_writer:
                self.run.save_best(step, tensors)
                self._prune_best()
        if self.is_writer:
            self._record(event, began)
            self.run.add(decision)
            self.console.evaluation(event, decision, self._last)
        return True

    def _early_stop(self) -> bool:
        """Tells whether the evaluation of this step ends the training.

        Asked of the history: a state that was saved on request may hold an evaluation that ends it.
        """
        step, history = self.progress.step, self.progress.history
        if not history or history[-1].step != step:
            return False
        return decide(history, self.engine.params.train.early_stopping).verdict == "stop"

    def _record(self, event: EvaluationEvent, began: float) -> None:
        self.run.add(event)
        self.run.telemetry.write("evaluation", step=event.step, seconds=time.perf_counter() - began)
        self._sample_usage()

    def _sample_usage(self) -> None:
        usage = self.monitor.sample()
        if usage is not None:
            self.run.telemetry.write("system", step=self.progress.step, **usage)

    def _save_is_due(self) -> bool:
        step = self.progress.step
        due = step > 0 and step % self.engine.params.train.save_interval == 0
        return due and not self._in_spike  # what follows a jump may be no good

    def _save(self) -> None:
        """Begins to save, after the state before it is there."""
        self._note(self._saver.wait())
        self._saver.begin(self.engine, self.progress)

    def _note(self, saved: Saved | None) -> None:
        """Records a state that counts, and drops what it makes dispensable."""
        if saved is None or not self.is_writer:
            return
        self.run.telemetry.write(
            "save",
            step=saved.step,
            seconds=saved.blocked_s,
            written_seconds=saved.seconds,
            bytes=saved.bytes,
        )
        if self._in_spike:  # saved because a stop was requested: the good ones before it stay
            return
        prune_checkpoints(self.run.checkpoints, self.engine.params.train.keep_checkpoints)
        self._prune_best()

    def _prune_best(self) -> None:
        """Drops weights that neither this process nor one resuming from a kept state can select."""
        history, rule = self.progress.history, self.engine.params.train.early_stopping
        if not history or self._saver.in_flight:  # a state that is about to count has its best too
            return
        evaluated_at = [item.step for item in history]
        known = {len(history)}
        for state in complete_checkpoints(self.run.checkpoints):
            # One that was saved on request may lack the evaluation of its own step.
            known |= {bisect_left(evaluated_at, state), bisect_right(evaluated_at, state)}
        self.run.prune_best(decide(history[:end], rule).best_step for end in known if end > 0)

    def _end(self, reason: Literal["early_stop", "plan_complete"]) -> EndEvent:
        decision = decide(self.progress.history, self.engine.params.train.early_stopping)
        event = EndEvent(
            step=self.progress.step,
            reason=reason,
            best_step=decision.best_step,
            best_loss=decision.best_loss,
        )
        if self.is_writer:
            self.run.add(event)
        return event
