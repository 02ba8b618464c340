"""A repository root as the stages before training leave it, small, with seeded random contents."""

import json
import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from ruamel.yaml import YAML
from safetensors.numpy import save_file

from minilingua.core.events import Event, compact, read_events
from minilingua.core.files import dump_record, tree_digest, write_json
from minilingua.core.plan import PackPlan, SplitPlan, pack_ref, write_plan
from minilingua.core.records import Split
from minilingua.core.seeding import content_id
from minilingua.core.tokens import TokenizedConversation, token_file_digest, write_token_file
from minilingua.llama_shapes import tensor_shapes
from minilingua.params import ModelParams, Params
from minilingua.params_file import load_params
from minilingua.training.run_directory import RunDirectory

REPOSITORY = Path(__file__).parents[2]
VOCABULARY = 64
LANGUAGES = ("en", "fi", "bg")
TINY_MODEL = {
    "name": "tiny",
    "hidden_size": 32,
    "ffn_hidden_size": 48,
    "layers": 2,
    "attention_heads": 4,
    "kv_groups": 2,
    "max_positions": 128,
}
TINY_TRAIN = {
    "lr": 1e-2,
    "warmup_steps": 2,
    "micro_batch": 2,
    "eval_interval": 4,
    "save_interval": 5,
    "threads": 1,
}


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The root, with its parameters in params.yaml."""

    root: Path

    @property
    def params(self) -> Params:
        return load_params(self.root / "params.yaml")

    def change(self, **sections: dict[str, Any] | int) -> None:
        """Overrides keys of params.yaml, by section."""
        yaml = YAML(typ="safe", pure=True)
        file = self.root / "params.yaml"
        raw = yaml.load(file.read_text(encoding="utf-8"))
        for name, values in sections.items():
            if isinstance(values, dict):
                raw[name].update(values)
            else:
                raw[name] = values
        with file.open("w", encoding="utf-8") as stream:
            yaml.dump(raw, stream)

    def train(self, *arguments: str) -> str:
        """Runs the worker to its end, which has to be a good one; returns its standard error."""
        process = self.start(*arguments)
        assert process.wait() == 0, process.errors()
        return process.errors()

    def start(
        self,
        *arguments: str,
        signalled: tuple[str, signal.Signals] | None = None,
        **environment: str,
    ) -> "WorkerProcess":
        """Starts the worker in a process of its own, with warnings as errors.

        Args:
            arguments: of the command line.
            signalled: the process gets this signal as soon as an event contains this text, by its
                own hand: a training this small is over before a busy machine looks at it again.
            environment: variables to add.
        """
        return WorkerProcess(self.root, arguments, signalled, environment)

    def run_path(self) -> Path:
        return self.root / "runs" / (self.root / "runs/current").read_text().strip()

    def events(self) -> list[Event]:
        return compact(read_events(self.run_path() / "events.jsonl"))

    def outputs(self) -> dict[str, str]:
        """Digests of the stage's outputs."""
        return {
            name: tree_digest(self.root / name) for name in ("models/megatron", "reports/train")
        }


class WorkerProcess:
    """A worker in a real process, forked from one that has already imported what it needs.

    Importing takes seconds; a test that kills and restarts does without it.
    """

    def __init__(
        self,
        root: Path,
        arguments: Sequence[str],
        signalled: tuple[str, signal.Signals] | None,
        environment: dict[str, str],
    ) -> None:
        context = _fork_server()
        self._output = root / f"worker-{time.monotonic_ns()}"
        self._output.touch()
        self._process = context.Process(
            target=_work,
            args=(str(root), str(self._output), list(arguments), signalled, environment),
        )
        self._process.start()

    def wait(self) -> int:
        """Returns the exit code; negative for the signal that ended it."""
        self._process.join(timeout=120)
        code: int | None = self._process.exitcode
        assert code is not None
        return code

    def errors(self) -> str:
        """Returns what it has printed."""
        return self._output.read_text(encoding="utf-8")

    def send(self, number: signal.Signals) -> int:
        """Sends a signal now; returns the exit code."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)
        return self.wait()


@cache
def _fork_server() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["minilingua.training.session", "minilingua.training.plot", "matplotlib.figure"]
    )
    return context


def _work(
    root: str,
    output: str,
    arguments: list[str],
    signalled: tuple[str, signal.Signals] | None,
    environment: dict[str, str],
) -> None:
    """What a worker process does."""
    with Path(output).open("w", encoding="utf-8") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    warnings.simplefilter("error")
    os.chdir(root)
    os.environ.update(environment)
    if signalled is not None:
        _signal_itself(*signalled)
    from minilingua.training.worker import main

    sys.exit(main(arguments))


def _signal_itself(event: str, number: signal.Signals) -> None:
    """Sends this process a signal, once, when it has recorded an event that contains a text."""
    add = RunDirectory.add
    waiting = [event]

    def add_and_signal(run: RunDirectory, recorded: Event) -> None:
        add(run, recorded)
        if waiting and waiting[0] in dump_record(recorded):
            waiting.clear()
            os.kill(os.getpid(), number)

    mock.patch.object(RunDirectory, "add", add_and_signal).start()


def conversation(
    generator: np.random.Generator, name: str, lengths: tuple[int, int], vocabulary: int
) -> TokenizedConversation:
    """A prompt of random tokens, and an answer (a quarter) that repeats the prompt's first one."""
    length = int(generator.integers(*lengths))
    answer = max(2, length // 4)
    tokens = generator.integers(3, vocabulary, length).astype(np.uint32)
    tokens[-answer:] = tokens[1]
    mask = np.zeros(length, dtype=np.uint8)
    mask[-answer:] = 1
    return TokenizedConversation(id=content_id(name), tokens=tokens, loss_mask=mask)


def write_base(path: Path, model: ModelParams, vocabulary: int, seed: int = 0) -> None:
    """A random model in the form that ``models/base`` has."""
    generator = np.random.default_rng(seed)
    tensors = {
        name: (
            np.ones(shape, np.float32)
            if len(shape) == 1
            else generator.normal(0, 0.05, shape).astype(np.float32)
        )
        for name, shape in tensor_shapes(model, vocabulary).items()
    }
    path.mkdir(parents=True)
    save_file(tensors, path / "model.safetensors")
    config = {"vocab_size": vocabulary, "rms_norm_eps": model.norm_epsilon}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")


def packs_of(lengths: Sequence[int], sequence_length: int) -> Iterator[tuple[int, int]]:
    """Cuts a row of conversations into packs, first come first served."""
    begin = used = 0
    for index, length in enumerate(lengths):
        if used + length > sequence_length:
            yield begin, index
            begin, used = index, 0
        used += length
    yield begin, len(lengths)


def make_workspace(
    root: Path,
    *,
    model: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    vocabulary: int = VOCABULARY,
    conversations: int = 30,
    lengths: tuple[int, int] = (4, 24),
    sequence_length: int = 64,
    packs_per_step: int = 4,
    steps: int = 12,
    seed: int = 1,
) -> Workspace:
    """Writes a workspace; ``conversations`` is a language's number in train."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    (root / "dvc.yaml").write_bytes((REPOSITORY / "dvc.yaml").read_bytes())
    workspace = Workspace(root=root)
    workspace.change(
        model={**TINY_MODEL, **(model or {})},
        train={**TINY_TRAIN, **(train or {})},
        pack={"sequence_length": sequence_length, "global_batch": packs_per_step * sequence_length},
    )
    for dependency in _train_dependencies(root):
        if not dependency.startswith(("data/", "models/")):
            file = root / dependency
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("nothing\n", encoding="utf-8")
    write_base(root / "models/base", workspace.params.model, vocabulary)
    _write_data(
        root, vocabulary, conversations, lengths, sequence_length, packs_per_step, steps, seed
    )
    return workspace


def _train_dependencies(root: Path) -> list[str]:
    raw = YAML(typ="safe", pure=True).load((root / "dvc.yaml").read_text(encoding="utf-8"))
    dependencies: list[str] = raw["stages"]["train"]["deps"]
    return dependencies


def _write_data(
    root: Path,
    vocabulary: int,
    conversations: int,
    lengths: tuple[int, int],
    sequence_length: int,
    packs_per_step: int,
    steps: int,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    splits: dict[Split, SplitPlan] = {}
    digests: dict[str, str] = {}
    for split, count in (("train", conversations), ("validation", max(3, conversations // 6))):
        sizes: dict[str, list[int]] = {}
        for code in LANGUAGES:
            rows = [
                conversation(generator, f"{split} {code} {row}", lengths, vocabulary)
                for row in range(count)
            ]
            path = root / "data/tokens" / split / code
            write_token_file(path, rows, vocab_size=vocabulary, tokenizer_digest="t" * 64)
            digests[f"{split}/{code}"] = token_file_digest(path)
            sizes[code] = [len(row.tokens) for row in rows]
        if split == "train":
            splits["train"] = _train_plan(generator, sizes, sequence_length, packs_per_step, steps)
        else:
            splits["validation"] = _held_out_plan(sizes, sequence_length)
    (root / "data/plan").mkdir(parents=True)
    plan = PackPlan(sequence_length=sequence_length, splits=splits, meta={"token_digests": digests})
    write_plan(root / "data/plan", plan)


def _train_plan(
    generator: np.random.Generator,
    sizes: dict[str, list[int]],
    sequence_length: int,
    packs_per_step: int,
    steps: int,
) -> SplitPlan:
    everything = [(code, row) for code in sizes for row in range(len(sizes[code]))]
    order: list[tuple[str, int]] = []
    bounds: list[tuple[int, int]] = []
    while len(bounds) <= steps * packs_per_step:
        order += [everything[index] for index in generator.permutation(len(everything))]
        bounds = list(packs_of([sizes[code][row] for code, row in order], sequence_length))
    bounds = bounds[: steps * packs_per_step]
    offsets = [0, *(end for _, end in bounds)]
    return split_plan(order[: offsets[-1]], offsets, range(0, len(bounds) + 1, packs_per_step))


def _held_out_plan(sizes: dict[str, list[int]], sequence_length: int) -> SplitPlan:
    order: list[tuple[str, int]] = []
    offsets = [0]
    for code, rows in sizes.items():
        begin = len(order)
        order += [(code, row) for row in range(len(rows))]
        offsets += [begin + end for _, end in packs_of(rows, sequence_length)]
    return split_plan(order, offsets, [0, len(offsets) - 1])


def split_plan(
    order: Iterable[tuple[str, int]], pack_offsets: Iterable[int], step_offsets: Iterable[int]
) -> SplitPlan:
    return SplitPlan(
        conversations=np.array([pack_ref(code, row) for code, row in order], dtype=np.uint64),
        pack_offsets=np.array(list(pack_offsets), dtype=np.uint64),
        step_offsets=np.array(list(step_offsets), dtype=np.uint64),
    )


def write_plan_meta(root: Path, **meta: Any) -> None:
    """Changes entries of plan.json."""
    file = root / "data/plan/plan.json"
    write_json(file, {**json.loads(file.read_text(encoding="utf-8")), **meta})
