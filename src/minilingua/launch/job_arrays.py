"""Batch scripts of data stages: arrays of jobs on a partition without GPUs, pure functions.

data.sbatch       one source a task: fills a mirror, which `fetch` then reads
tokenize.sbatch   one language a task: leaves what the stage `tokenize` then collects
"""

from collections.abc import Sequence
from pathlib import Path

from minilingua.launch.cluster import Cluster
from minilingua.launch.script import JOBS, Place, directives, heading, modules


def render_data(cluster: Cluster, sources: Sequence[str], source: str) -> str:
    """Returns the script of the job array that downloads the raw data, one source a task."""
    return _render_array(
        cluster,
        "data",
        source,
        about="Fills a mirror with the pinned sources: sbatch slurm/data.sbatch DIRECTORY",
        body=[
            "mirror=${1:?names the directory of the mirror}",
            *_chosen("source", sources),
            'exec minilingua fetch --mirror "$mirror" --source "$source"',
        ],
        tasks=len(sources),
    )


def render_tokenize(cluster: Cluster, languages: Sequence[str], source: str) -> str:
    """Returns the script of the job array that tokenizes, one language a task."""
    return _render_array(
        cluster,
        "tokenize",
        source,
        about="Tokenizes side by side what the stage then only collects: sbatch "
        "slurm/tokenize.sbatch",
        body=[*_chosen("language", languages), 'exec minilingua tokenize --language "$language"'],
        tasks=len(languages),
    )


def _chosen(name: str, values: Sequence[str]) -> list[str]:
    # Quoted even where it seems needless: one language is a word of the shell's.
    listed = " ".join(f"'{value}'" for value in values)
    return [f"{name}s=({listed})", f"{name}=${{{name}s[$SLURM_ARRAY_TASK_ID]}}"]


def _render_array(
    cluster: Cluster, name: str, source: str, *, about: str, body: Sequence[str], tasks: int
) -> str:
    place = Place(
        repository=Path(),
        directory=JOBS,
        log=f"{JOBS}/{name}-%A-%a.log",
        name=f"minilingua-{name}",
    )
    lines = [
        *heading(source, about),
        *directives("data", cluster, cluster.resources("data"), place),
        f"#SBATCH --array=0-{tasks - 1}",
        *modules(cluster),
        "set -euo pipefail",
        'cd "$SLURM_SUBMIT_DIR"',
        *body,
    ]
    return "\n".join(lines) + "\n"
