"""A small finished line on disk, as the stages leave it, and a look into the MLflow database."""

import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minilingua.core.events import (
    DecisionEvent,
    EndEvent,
    EvaluationEvent,
    Event,
    LanguageLoss,
    StepEvent,
    append_event,
    compact,
)
from minilingua.core.files import canonical_json, write_json, write_jsonl, write_text
from minilingua.core.records import Score
from minilingua.evaluation.scores import write_scores, write_summary
from minilingua.params_file import load_params
from minilingua.provenance.lineage import dvc_md5

REPOSITORY = Path(__file__).parents[2]
RUN_KEY = "5f0c2a9b17d84e63"
COMMIT = "c0ffee" * 6 + "c0de"
LANGUAGES = ("en", "fi", "bg")
STEPS = 12
INTERVAL = 4
BEGAN = 1_700_000_000.0
"""Unix time of the first attempt."""


def training_events(steps: int = STEPS, stop: bool = True) -> list[Event]:
    """Losses fall until step 8; the evaluation after 12 is worse and stops the training."""
    events: list[Event] = []
    best: tuple[float, int] = (99.0, 0)
    for step in range(steps + 1):
        if step > 0:
            events.append(
                StepEvent(
                    step=step,
                    loss=3.0 / step + 0.1,
                    learning_rate=1e-3 * min(1, step / 3),
                    grad_norm=1.0 + 0.01 * step,
                    tokens=1000 + step,
                    supervised_tokens=300 + step,
                    conversations=7,
                    sample_digest=f"{step:016x}",
                )
            )
        if step % INTERVAL == 0:
            loss = 2.0 - 0.1 * step + (0.5 if step > 8 else 0.0)
            events.append(
                EvaluationEvent(
                    step=step,
                    loss=loss,
                    supervised_tokens=900,
                    languages={
                        code: LanguageLoss(loss=loss + 0.1 * number, supervised_tokens=300)
                        for number, code in enumerate(LANGUAGES)
                    },
                )
            )
            improved = loss < best[0]
            best = (loss, step) if improved else best
            events.append(
                DecisionEvent(
                    step=step,
                    loss=loss,
                    best_step=best[1],
                    best_loss=best[0],
                    evaluations_without_improvement=0 if improved else 1,
                    patience=1,
                    min_delta=0.0,
                    verdict="improved" if improved else "stop",
                    reason=f"Loss {loss:.2f} after step {step}; best {best[0]:.2f}.",
                )
            )
    if stop:
        events.append(
            EndEvent(step=steps, reason="early_stop", best_step=best[1], best_loss=best[0])
        )
    return events


def telemetry_record(kind: str, attempt: int, at: float, **values: Any) -> str:
    record = {"kind": kind, "attempt": attempt, "time": BEGAN + at, **values}
    return canonical_json(record) + "\n"


USAGE = {"cpu_utilization_percentage": 98.5, "system_memory_usage_megabytes": 1500.0}


def telemetry_of(
    events: Iterable[Event], attempt: int = 1, begins: float = 0.0
) -> Iterator[tuple[Event, str]]:
    """Each event with the telemetry lines that the worker writes just after it."""
    for event in events:
        lines = ""
        at = begins + event.step
        if event.kind == "step":
            speed = 1000.0 / attempt
            lines = telemetry_record(
                "step",
                attempt,
                at,
                step=event.step,
                seconds=1.0,
                tokens_per_second=speed,
                supervised_tokens_per_second=speed / 3,
                memory_mb=512.0,
            )
        elif event.kind == "evaluation":
            lines = telemetry_record("evaluation", attempt, at, step=event.step, seconds=0.5)
            lines += telemetry_record("system", attempt, at, step=event.step, **USAGE)
        elif event.kind == "end":
            lines = telemetry_record("end", attempt, at, status="finished")
        yield event, lines


@dataclass(frozen=True)
class Workspace:
    """A repository root."""

    root: Path

    def run_directory(self, run_key: str = RUN_KEY) -> Path:
        return self.root / "runs" / run_key

    def begin(
        self, run_key: str = RUN_KEY, attempt: int = 1, begins: float = 0.0, **start: Any
    ) -> Path:
        """Does what the worker does first; ``start`` is more of what it tells of its beginning."""
        directory = self.run_directory(run_key)
        params = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
        write_json(directory / "run.json", {"run_key": run_key, "params": params})
        write_text(self.root / "runs/current", run_key + "\n")
        about = {"host": "node7", "commit": COMMIT, **start}
        self.add_telemetry(telemetry_record("start", attempt, begins, **about), run_key)
        return directory

    def add_telemetry(self, lines: str, run_key: str = RUN_KEY) -> None:
        with (self.run_directory(run_key) / "telemetry.jsonl").open("a") as stream:
            stream.write(lines)

    def add(self, event: Event, telemetry: str, run_key: str = RUN_KEY) -> None:
        append_event(self.run_directory(run_key) / "events.jsonl", event)
        self.add_telemetry(telemetry, run_key)

    def train(self, events: Sequence[Event] | None = None, run_key: str = RUN_KEY) -> None:
        """Leaves the run directory of a training that nothing interrupted."""
        self.begin(run_key)
        for event, lines in telemetry_of(training_events() if events is None else events):
            self.add(event, lines, run_key)

    def publish(self, events: Sequence[Event] | None = None) -> None:
        """Leaves what `train` puts into reports/train."""
        kept = compact(training_events() if events is None else events)
        reports = self.root / "reports/train"
        shutil.rmtree(reports, ignore_errors=True)
        write_jsonl(reports / "events.jsonl", kept)
        write_text(reports / "loss.csv", "step,loss\n1,3.1\n")
        (reports / "training_loss.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        write_json(reports / "early_stopping.json", {"best_step": 8, "best_loss": 1.2})

    def export(self, value: float = 1.0) -> None:
        """Leaves what `convert` makes; only its form matters here."""
        model = self.root / "models/hf"
        shutil.rmtree(model, ignore_errors=True)
        write_json(model / "config.json", {"architectures": ["LlamaForCausalLM"]})
        write_json(model / "tokenizer.json", {"version": "1.0"})
        save_file({"w": np.full((2, 2), value, np.float32)}, model / "model.safetensors")

    def evaluate(self, accuracy: float = 0.5) -> None:
        """Leaves what `evaluate` makes."""
        scores = evaluation_scores(accuracy)
        write_scores(self.root / "reports/evaluation.json", scores)
        write_summary(self.root / "reports/evaluation_summary.json", scores)

    def prepare_data(self) -> None:
        """Leaves the data files that are told of."""
        shutil.copy(REPOSITORY / "params.yaml", self.root / "params.yaml")
        write_text(self.root / "containers/requirements.txt", "numpy\n")
        write_text(
            self.root / "reports/mixture.csv",
            "language,planned_share,conversations\nen,0.571429,1200\nfi,0.428571,900\n",
        )
        for split in ("train", "validation", "test"):
            write_text(self.root / f"data/conversations/{split}/en.jsonl", f'"{split}"\n')
        files = {"en/train.parquet": {"sha256": "a" * 64, "rows": 40}}
        about = {"licence": "Unicode-3.0", "commercial_use": True, "files": files}
        sources = {"aya": {"title": "Aya", **about}, "exams": {"title": "EXAMS", **about}}
        kept = {"aya": {"en": 30, "fi": 10}, "exams": {"bg": 11}}
        manifest = {"stage": "fetch", "kept": kept, "details": {"sources": sources}}
        write_json(self.root / "data/raw/manifest.json", manifest)
        curated = {"rows_kept": 51, "dropped": {}, "details": {}}
        write_json(self.root / "data/conversations/manifest.json", curated)

    def whole_line(self) -> None:
        """Leaves everything that `dvc repro` makes."""
        self.prepare_data()
        self.train()
        self.publish()
        self.export()
        self.evaluate()

    def lock(self, **params: object) -> None:
        """Writes the dvc.lock of the line that lies here.

        Args:
            params: those of ``convert``.
        """
        write_text(self.root / "src/convert.py", "# exports")

        def entry(path: str) -> dict[str, str]:
            return {"path": path, "md5": dvc_md5(self.root / path)}

        weights = {"path": "models/megatron", "md5": "1.dir"}
        stages = {
            "pack": {"outs": [entry("reports/mixture.csv")]},
            "train": {"outs": [weights, entry("reports/train")]},
            "convert": {
                "deps": [weights, entry("src/convert.py")],
                "params": {"params.yaml": params},
                "outs": [entry("models/hf")],
            },
            "evaluate": {
                "deps": [entry("models/hf")],
                "outs": [entry("reports/evaluation.json")],
            },
        }
        write_json(self.root / "dvc.lock", {"schema": "2.0", "stages": stages})

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Returns every row of the store that tells of a run, without ids of the database.

        Attempts, which are runs in the store, too, have tables of their own.
        """
        children = (
            "CREATE TEMP VIEW children AS "
            "SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId'"
        )
        tables = {
            "runs": "SELECT name, status, start_time, end_time, lifecycle_stage FROM runs "
            "WHERE lifecycle_stage = 'active' AND run_uuid NOT IN children",
            "attempts": "SELECT name, status, start_time, end_time FROM runs "
            "WHERE lifecycle_stage = 'active' AND run_uuid IN children",
            "attempt_tags": "SELECT name, key, value FROM tags NATURAL JOIN runs "
            "WHERE lifecycle_stage = 'active' AND run_uuid IN children "
            "AND key != 'mlflow.parentRunId'",
            "params": "SELECT key, value FROM params NATURAL JOIN runs "
            "WHERE lifecycle_stage = 'active'",
            "tags": "SELECT key, value FROM tags NATURAL JOIN runs "
            "WHERE lifecycle_stage = 'active' AND run_uuid NOT IN children",
            "metrics": "SELECT key, step, value, timestamp, is_nan FROM metrics NATURAL JOIN runs "
            "WHERE lifecycle_stage = 'active'",
            "latest": "SELECT key, step, value FROM latest_metrics NATURAL JOIN runs "
            "WHERE lifecycle_stage = 'active'",
            "datasets": "SELECT name, digest, dataset_source, dataset_profile FROM datasets",
            "inputs": "SELECT source_type, destination_type FROM inputs",
            "versions": "SELECT name, version FROM model_versions "
            "WHERE current_stage != 'Deleted_Internal'",
            "aliases": "SELECT name, alias, version FROM registered_model_aliases",
        }
        with sqlite3.connect(self.root / "mlruns/mlflow.db") as connection:
            connection.execute(children)
            rows = {name: sorted(connection.execute(query)) for name, query in tables.items()}
        connection.close()
        return rows

    def metric(self, key: str) -> dict[int, float]:
        """Returns step ─► value; fails when a step has two rows."""
        rows = [(step, value) for found, step, value, *_ in self.dump()["metrics"] if found == key]
        assert len(dict(rows)) == len(rows), f"{key}: several values at one step"
        return dict(rows)

    def tags(self) -> dict[str, str]:
        return dict(self.dump()["tags"])

    def artifacts(self) -> set[str]:
        """Returns the artifact files of all runs."""
        return set(self.artifact_times())

    def artifact_times(self) -> dict[str, int]:
        """Returns artifact file ─► when it was written."""
        found = [path for path in self.root.glob("mlruns/*/*/artifacts/**/*") if path.is_file()]
        return {
            "/".join(path.parts[path.parts.index("artifacts") + 1 :]): path.stat().st_mtime_ns
            for path in found
        }


def evaluation_scores(accuracy: float) -> list[Score]:
    scores = []
    for model, gain in (("base", 0.0), ("result", accuracy)):
        for language in ("all", *LANGUAGES):
            shared: dict[str, Any] = {"model": model, "language": language}
            for answer_format in ("all", "letter", "number", "text"):
                for instruction_language in ("all", "en"):
                    of = {
                        **shared,
                        "task": "mcqa",
                        "answer_format": answer_format,
                        "instruction_language": instruction_language,
                    }
                    value = 0.25 + gain
                    scores.append(_score(of, metric="accuracy", value=value, stderr=0.02, n=400))
                    scores.append(_score(of, metric="chance", value=0.25, stderr=None, n=400))
            for task in ("loss", "loss_uncontaminated"):
                of = {**shared, "task": task, "answer_format": None, "instruction_language": None}
                name = "nats_per_supervised_token"
                scores.append(_score(of, metric=name, value=3.0 - gain, stderr=0.1, n=9000))
                scores.append(_score(of, metric="bits_per_byte", value=2.0, stderr=0.1, n=9000))
    return scores


def _score(of: dict[str, Any], **values: Any) -> Score:
    return Score(**of, **values)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
