"""Batch scripts as pure functions of a cluster file, a stage and a place.

train.sbatch, convert.sbatch, evaluate.sbatch   one stage each, under srun, in the image
pipeline.sbatch                                 the whole of `dvc repro` in one allocation
data.sbatch                                     the raw data, a job array over the sources

A training that is told its limit (``--signal``) saves, and the job requeues itself under the same
id. It does not if nothing was saved since it began: then the limit is too short, and it fails.
"""

import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minilingua.core.errors import EXIT_PREEMPTED
from minilingua.launch.cluster import Cluster, Resources, StageName
from minilingua.launch.program import (
    DRIVER,
    PREFLIGHT,
    Command,
    Program,
    command,
    scratch_directory,
    stage_program,
)

JOBS = "runs/jobs"
COMPLETION = "complete.json"
_TOLD_TOO_EARLY = 128 + signal.SIGUSR1
"""Exit code of a training that was told of its limit before it could listen."""
_PORTS = (20000, 20000)
"""First port of rendezvous, and how many there are; a job's id chooses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a script runs and writes."""

    repository: Path
    """The checkout."""
    directory: str
    """Of the job's log and completion record; may hold shell variables."""
    log: str
    """Slurm's pattern of the log's name."""
    name: str
    """Name of the job."""
    run: str | None = None
    """Run directory of the training, if it is known beforehand."""
    image_digest: str | None = None
    """Of the image, if it is known beforehand."""


def render(stage: StageName, cluster: Cluster, place: Place, source: str) -> str:
    """Returns the batch script of a stage.

    Args:
        stage: what to run.
        cluster: the cluster file.
        place: where.
        source: the cluster file's name, for the reader of the script.
    """
    resources = cluster.resources(stage)
    lines = [
        "#!/bin/bash",
        f"# Made from {source} by `minilingua slurm`: edit that and make it anew.",
        *_directives(stage, cluster, resources, place),
        "set -uo pipefail",
        *_beginning(cluster, place),
    ]
    if stage == "pipeline":
        lines += _pipeline(Path(source).stem)
    else:
        lines += _stage(stage_program(stage), cluster, resources, place)
    return "\n".join(lines) + "\n"


def render_array(cluster: Cluster, sources: Sequence[str], source: str) -> str:
    """Returns the script of the job array that downloads the raw data, one source a task."""
    resources = cluster.resources("data")
    place = Place(
        repository=Path(), directory=JOBS, log=f"{JOBS}/data-%A-%a.log", name="minilingua-data"
    )
    return (
        "\n".join(
            [
                "#!/bin/bash",
                f"# Made from {source} by `minilingua slurm`: edit that and make it anew.",
                "# Fills a mirror with the pinned sources: sbatch slurm/data.sbatch DIRECTORY",
                *_directives("data", cluster, resources, place),
                f"#SBATCH --array=0-{len(sources) - 1}",
                "set -euo pipefail",
                'cd "$SLURM_SUBMIT_DIR"',
                *_modules(cluster),
                "mirror=${1:?names the directory of the mirror}",
                f"sources=({' '.join(sources)})",
                "source=${sources[$SLURM_ARRAY_TASK_ID]}",
                'exec minilingua fetch --mirror "$mirror" --source "$source"',
            ]
        )
        + "\n"
    )


def _directives(
    stage: StageName, cluster: Cluster, resources: Resources, place: Place
) -> list[str]:
    assert cluster.slurm is not None
    options = {
        "job-name": place.name,
        "partition": resources.partition,
        "account": cluster.slurm.account,
        "time": resources.time,
        "nodes": resources.nodes,
        "ntasks-per-node": resources.tasks_per_node if stage == "train" else 1,
        "cpus-per-task": resources.cpus,
        "mem": resources.memory,
        "output": place.log,
        "open-mode": "append",
    }
    if resources.gpus:
        kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
        options["gres"] = f"gpu:{kind}{resources.gpus}"
    if stage in {"train", "pipeline"}:
        options["signal"] = f"B:USR1@{cluster.slurm.save_before_limit}"
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    return [
        *lines,
        "#SBATCH --requeue" if stage in {"train", "pipeline"} else "#SBATCH --no-requeue",
    ]


def _modules(cluster: Cluster) -> list[str]:
    assert cluster.slurm is not None
    return [f"module load {shlex.quote(name)}" for name in cluster.slurm.modules]


def _beginning(cluster: Cluster, place: Place) -> list[str]:
    return [
        *_modules(cluster),
        f"cd {_quote(str(place.repository))} || exit 2",
        f"directory={_quote(place.directory)}",
        'mkdir -p "$directory"',
        "unset SLURM_EXPORT_ENV",
        # Since 22.05 srun does not take it from the job by itself.
        'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
        "attempt=$((${SLURM_RESTART_COUNT:-0} + 1))",
        'echo "job $SLURM_JOB_ID, attempt $attempt, on $SLURM_JOB_NODELIST" >&2',
        "limit=",
        "step=",
        "trap 'limit=near; [[ -z $step ]] || kill -USR1 \"$step\"' USR1",
        *_FINISH,
    ]


_FINISH = """
finish() {
    printf '{"attempt":%d,"exit_code":%d,"job":%d}\\n' "$attempt" "$1" "$SLURM_JOB_ID" \\
        >"$directory/.complete.tmp"
    mv "$directory/.complete.tmp" "$directory/complete.json"
    exit "$1"
}
# A signal interrupts wait, not what is waited for.
await() {
    while :; do
        wait "$1"
        code=$?
        kill -0 "$1" 2>/dev/null || return "$code"
    done
}
saved() { find runs/*/checkpoints -name complete.json 2>/dev/null | sort | cksum; }
""".strip().splitlines()


def _stage(program: Program, cluster: Cluster, resources: Resources, place: Place) -> list[str]:
    main = command(program, cluster, place.repository)
    lines = [
        # In the job a stage runs here; it submits nothing.
        "export MINILINGUA_CLUSTER=local MINILINGUA_TRACKING=off",
        *([f"export MINILINGUA_IMAGE_DIGEST={place.image_digest}"] if place.image_digest else []),
        *_rendezvous(resources),
        *_scratch(cluster, place),
        *_exports(main),
        *_preflight(cluster, resources, place),
        "before=$(saved)",
        f"{_srun(main, resources)} &",
        "step=$!",
        'await "$step"',
        "code=$?",
    ]
    if program.name != "train":
        return [*lines, 'finish "$code"']
    stopped = f"code == {EXIT_PREEMPTED} || code == {_TOLD_TOO_EARLY}"
    return [
        *lines,
        f"if [[ $limit == near ]] && (({stopped})); then",
        '    if [[ $(saved) == "$before" ]]; then',
        '        echo "nothing was saved in this attempt: the time limit is too short" >&2',
        '        finish "$code"',
        "    fi",
        '    echo "saved before the time limit; going on in another attempt" >&2',
        '    scontrol requeue "$SLURM_JOB_ID" && sleep 60',
        "fi",
        'finish "$code"',
    ]


def _pipeline(cluster: str) -> list[str]:
    return [
        # DVC runs outside images and starts each heavy stage in its own, on this node.
        f"export MINILINGUA_CLUSTER={cluster} MINILINGUA_LAUNCHER=local",
        # The training is told of the limit, not DVC, which would only die of it.
        'session=$(ps -o sid= -p "$$" | tr -d " ")',
        'trap \'limit=near; pkill -USR1 -s "$session" -f "bin/minilingua train$"\' USR1',
        "dvc repro &",
        "step=$!",
        'await "$step"',
        "code=$?",
        "if ((code != 0)) && [[ $limit == near ]]; then",
        '    scontrol requeue "$SLURM_JOB_ID" && sleep 60',
        "fi",
        'finish "$code"',
    ]


def _preflight(cluster: Cluster, resources: Resources, place: Place) -> list[str]:
    check = command(PREFLIGHT, cluster, place.repository)
    run = f" --run {_quote(place.run)}" if place.run else ""
    gpus = f" --gpus {resources.gpus}" if cluster.gpus and resources.gpus else ""
    return [f'{_join(check.arguments)}{run}{gpus} >&2 || finish "$?"']


def _rendezvous(resources: Resources) -> list[str]:
    first, ports = _PORTS
    if resources.nodes * resources.tasks_per_node == 1:
        return []
    return [
        'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        f"MASTER_PORT=$(({first} + SLURM_JOB_ID % {ports}))",
        "export MASTER_ADDR MASTER_PORT",
    ]


def _scratch(cluster: Cluster, place: Place) -> list[str]:
    """Makes what a container's command binds, for scripts that a person submits."""
    if cluster.container == "bare":
        return []
    scratch = _quote(str(scratch_directory(cluster, place.repository)))
    return [
        f"scratch={scratch}",
        'mkdir -p "$scratch/cache" "$scratch/tmp" "$scratch/cuda-compat"',
        f'ln -sf {DRIVER} "$scratch/cuda-compat/libcuda.so"',
        f'ln -sf {DRIVER}.1 "$scratch/cuda-compat/libcuda.so.1"',
    ]


def _srun(main: Command, resources: Resources) -> str:
    options = "srun --unbuffered --wait=120"
    if resources.nodes * resources.tasks_per_node == 1:
        return f"{options} {_join(main.arguments)}"
    # The variables that torchrun sets, without a process between Slurm's signals and the ranks.
    rank = ["RANK=$SLURM_PROCID", "LOCAL_RANK=$SLURM_LOCALID", "WORLD_SIZE=$SLURM_NTASKS"]
    exports = [f"export {item}" for item in rank]
    if main.passed and main.environment:
        exports += [f"export APPTAINERENV_{item}" for item in rank]
    inner = "; ".join([*exports, 'exec "$@"'])
    return f"{options} bash -c {shlex.quote(inner)} rank {_join(main.arguments)}"


def _exports(main: Command) -> list[str]:
    lines = [f"export {name}={_quote(value)}" for name, value in main.environment.items()]
    if main.environment and main.passed:  # Apptainer's way of passing variables in
        names = " ".join(main.passed)
        lines += [
            f"for name in {names}; do",
            '    [[ -z ${!name+set} ]] || export "APPTAINERENV_$name=${!name}"',
            "done",
        ]
    return lines


def _join(arguments: Sequence[str]) -> str:
    return " ".join(map(_quote, arguments))


def _quote(text: str) -> str:
    """Quotes a word for the shell, leaving ``${NAME}`` to it."""
    if "${" not in text:
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`")
    return f'"{escaped}"'
