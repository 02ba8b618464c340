"""Batch scripts as pure functions of a cluster file, a stage and a place.

train.sbatch, convert.sbatch, evaluate.sbatch   one stage each, under srun, in the image
pipeline.sbatch                                 `dvc repro` on a node without GPUs; it submits those

A job that is told its limit (``--signal``) is requeued under the same id: a training once it has
saved, the pipeline once it has let go of the job that it follows. It is not if nothing has come of
it since it began: then the limit is too short, and it fails.
"""

import shlex
import signal
from pathlib import Path

from minilingua.core.errors import EXIT_PREEMPTED
from minilingua.images.lock import LOCK
from minilingua.launch.cluster import Cluster, Resources, StageName
from minilingua.launch.program import (
    DRIVER,
    FOREIGN,
    PREFLIGHT,
    Command,
    Program,
    command,
    scratch_directory,
    stage_program,
)
from minilingua.launch.script import Place, directives, heading, join, modules, quote

COMPLETION = "complete.json"
_TOLD_TOO_EARLY = 128 + signal.SIGUSR1
"""Exit code of a training that was told of its limit before it could listen."""
_EXPANDED_LATER = "# shellcheck disable=SC2016  # the shell of each rank expands it"
_FOLLOWED = r"""
# Jobs that a launcher has submitted in this checkout.
followed() {
    squeue --me --noheader --format='%j|%Z' | grep -E '^minilingua-[a-z]+-[0-9a-f]+-[0-9]+[|]' |
        cut -d '|' -f 2- | grep -Fx -e "$PWD" -e "$(pwd -P)"
}
""".strip().splitlines()
_PORTS = (20000, 12000)
"""First port of rendezvous, and how many there are, below those that systems hand out; a job's id
chooses."""


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
        *heading(source),
        *directives(stage, cluster, resources, place),
        *modules(cluster),
        "set -uo pipefail",
        *_beginning(place),
    ]
    if stage == "pipeline":
        lines += _pipeline(Path(source).stem)
    else:
        lines += _stage(stage_program(stage), cluster, resources, place)
    return "\n".join(lines) + "\n"


def _beginning(place: Place) -> list[str]:
    return [
        f"cd {quote(str(place.repository))} || exit 2",
        f"directory={quote(place.directory)}",
        'mkdir -p "$directory"',
        f'rm -f "$directory/{COMPLETION}"',
        "unset SLURM_EXPORT_ENV",
        # Since 22.05 srun does not take it from the job by itself.
        'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
        "attempt=$((${SLURM_RESTART_COUNT:-0} + 1))",
        'echo "job $SLURM_JOB_ID, attempt $attempt, on $SLURM_JOB_NODELIST" >&2',
        *_FINISH,
    ]


_FINISH = f"""
finish() {{
    printf '{{"attempt":%d,"exit_code":%d,"job":%d}}\\n' "$attempt" "$1" "$SLURM_JOB_ID" \\
        >"$directory/.complete.tmp"
    mv "$directory/.complete.tmp" "$directory/{COMPLETION}"
    exit "$1"
}}
""".strip().splitlines()

_GO_ON = """
limit=
step=
# A signal interrupts wait, not what is waited for; what has ended can be asked again.
await() {
    while :; do
        wait "$1"
        kill -0 "$1" 2>/dev/null || break
    done
    wait "$1"
}
go_on() {
    if [[ $(saved) == "$before" ]]; then
        echo "nothing was saved in this attempt: the time limit is too short" >&2
        finish "$code"
    fi
    echo "saved before the time limit; going on in another attempt" >&2
    scontrol requeue "$SLURM_JOB_ID" && sleep 60
    finish "$code"
}
""".strip().splitlines()


def _stage(program: Program, cluster: Cluster, resources: Resources, place: Place) -> list[str]:
    main = command(program, cluster, place.repository)
    goes_on = program.name == "train"
    before = [
        # In the job a stage runs here; it submits nothing.
        "export MINILINGUA_CLUSTER=local MINILINGUA_TRACKING=off",
        *([*_GO_ON, _listen('USR1 "$step"')] if goes_on else []),
        *_recorded_image(cluster, place),
        *_rendezvous(resources),
        *_scratch(cluster, place),
        *_exports(main),
        *_preflight(cluster, resources, place),
    ]
    if not goes_on:
        return [*before, _srun(main, resources), 'finish "$?"']
    states = f"{quote(place.run) if place.run else 'runs/*'}/checkpoints"
    stopped = f"code == {EXIT_PREEMPTED} || code == {_TOLD_TOO_EARLY}"
    return [
        *before,
        f"saved() {{ find {states} -name complete.json 2>/dev/null | sort | cksum; }}",
        "before=$(saved)",
        f"code={EXIT_PREEMPTED}",
        "[[ -z $limit ]] || go_on  # it was told while it still looked around",
        *([_EXPANDED_LATER] if resources.nodes * resources.tasks_per_node > 1 else []),
        f"{_srun(main, resources)} &",
        "step=$!",
        _tell_late('USR1 "$step"'),
        'await "$step"',
        "code=$?",
        f"if [[ $limit == near ]] && (({stopped})); then go_on; fi",
        'finish "$code"',
    ]


def _listen(told: str) -> str:
    return f"trap 'limit=near; [[ -z $step ]] || kill -{told}' USR1"


def _tell_late(told: str) -> str:
    """The limit may have come near after the step was started and before its id was known."""
    return f"[[ -z $limit ]] || kill -{told}"


def _pipeline(cluster: str) -> list[str]:
    return [
        # The data stages run here; train, convert and evaluate are jobs of their own, which are
        # found again by the next attempt.
        f"export MINILINGUA_CLUSTER={shlex.quote(cluster)}",
        *_GO_ON,
        # All of its process group is told of the limit, as by a Ctrl-C: that leaves the job which
        # is followed alone.
        _listen('INT -- "-$step"'),
        *_FOLLOWED,
        "saved() { { cat dvc.lock runs/jobs/*/submission.json; } 2>/dev/null | cksum; }",
        "before=$(saved)",
        "set -m",  # gives it a process group of its own
        "dvc repro &",
        "step=$!",
        _tell_late('INT -- "-$step"'),
        'await "$step"',
        "code=$?",
        "if [[ $limit == near ]] && ((code != 0)); then",
        "    [[ -z $(followed) ]] || before=",
        "    go_on",
        "fi",
        'finish "$code"',
    ]


def _recorded_image(cluster: Cluster, place: Place) -> list[str]:
    """Refuses another image than the recorded one, also if it was changed while the job waited."""
    if cluster.container == "bare":
        return []
    image = quote(str(cluster.image))
    if cluster.container == "docker":
        key, found = r'"id": "\(sha256:[0-9a-f]*\)"', 'docker image inspect --format "{{.Id}}"'
        asked = f"$({found} {image})"
    else:
        key = r'"sha256": "\([0-9a-f]*\)"'
        asked = f'sha256:$(sha256sum {image} | cut -d " " -f 1)'
    prefix = "" if cluster.container == "docker" else "sha256:"
    recorded = place.image_digest or rf"$(sed -n 's/.*{key}.*/{prefix}\1/p' {LOCK})"
    return [
        f'recorded="{recorded}"',
        f'MINILINGUA_IMAGE_DIGEST="{asked}"',
        "export MINILINGUA_IMAGE_DIGEST",
        'if [[ $MINILINGUA_IMAGE_DIGEST != "${recorded:-nothing}" ]]; then',
        f'    said="is $MINILINGUA_IMAGE_DIGEST, but {LOCK} recorded ${{recorded:-nothing}}"',
        f'    echo "job: error:" {image} "$said" >&2',
        "    finish 2",
        "fi",
    ]


def _preflight(cluster: Cluster, resources: Resources, place: Place) -> list[str]:
    check = command(PREFLIGHT, cluster, place.repository)
    run = f" --run {quote(place.run)}" if place.run else ""
    gpus = f" --gpus {resources.gpus}" if cluster.gpus and resources.gpus else ""
    nodes = resources.nodes
    # On every node: a driver may be missing on one of them only.
    each = f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 " if nodes > 1 else ""
    return [f'{each}{join(check.arguments)}{run}{gpus} >&2 || finish "$?"']


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
    scratch = quote(str(scratch_directory(cluster, place.repository)))
    return [
        f"scratch={scratch}",
        'mkdir -p "$scratch/cache" "$scratch/tmp" "$scratch/cuda-compat"',
        f'ln -sf {DRIVER} "$scratch/cuda-compat/libcuda.so"',
        f'ln -sf {DRIVER}.1 "$scratch/cuda-compat/libcuda.so.1"',
    ]


def _srun(main: Command, resources: Resources) -> str:
    options = "srun --unbuffered --wait=120"
    if resources.nodes * resources.tasks_per_node == 1:
        return f"{options} {join(main.arguments)}"
    # The variables that torchrun sets, without a process between Slurm's signals and the ranks.
    rank = ["RANK=$SLURM_PROCID", "LOCAL_RANK=$SLURM_LOCALID", "WORLD_SIZE=$SLURM_NTASKS"]
    exports = [f"export {item}" for item in rank]
    if main.passed and main.environment:
        exports += [f"export APPTAINERENV_{item}" for item in rank]
    inner = "; ".join([*exports, 'exec "$@"'])
    return f"{options} bash -c {shlex.quote(inner)} rank {join(main.arguments)}"


def _exports(main: Command) -> list[str]:
    lines = [f"export {name}={quote(value)}" for name, value in main.environment.items()]
    if main.environment and main.passed:  # Apptainer's way of passing variables in
        names = " ".join(main.passed)
        lines = [
            # What the submitter's environment would add to the container.
            "unset " + " ".join(f'"${{!{prefix}@}}"' for prefix in FOREIGN),
            *lines,
            f"for name in {names}; do",
            '    [[ -z ${!name+set} ]] || export "APPTAINERENV_$name=${!name}"',
            "done",
        ]
    return lines
