import sys
from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.launch.cluster import Cluster
from minilingua.launch.program import (
    TRAIN,
    bare,
    command,
    prepare_scratch,
    stage_program,
    with_passed,
)

CHECKOUT = Path("/work/checkout")


def _cluster(**changes: object) -> Cluster:
    return Cluster.model_validate(
        {
            "launcher": "local",
            "container": "apptainer",
            "image": "/images/m.sif",
            "scratch": "/scratch/me",
            **changes,
        }
    )


def test_bare_is_this_python() -> None:
    assert bare(TRAIN).arguments == (sys.executable, "-m", "minilingua.training.worker")
    convert = bare(stage_program("convert")).arguments
    assert convert == (sys.executable, "-m", "minilingua", "convert")


def test_apptainer_sees_what_is_listed_and_nothing_else() -> None:
    made = command(TRAIN, _cluster(binds=["/m"], environment=["TOKEN"]), CHECKOUT)
    assert made.arguments == (
        *("apptainer", "exec", "--cleanenv", "--no-home"),
        *("--bind", "/work/checkout", "--bind", "/m", "--bind", "/scratch/me"),
        *("--bind", "/scratch/me/tmp:/tmp", "--pwd", "/work/checkout"),
        *("/images/m.sif", "train"),
    )
    environment = with_passed(made, {"TOKEN": "secret", "PATH": "/bin", "PYTHONPATH": "/host"})
    inside = {name for name in environment if name.startswith("APPTAINERENV_")}
    assert "APPTAINERENV_TOKEN" in inside
    assert environment["APPTAINERENV_HF_HOME"] == "/scratch/me/cache/huggingface"
    assert not inside & {"APPTAINERENV_PATH", "APPTAINERENV_PYTHONPATH"}
    assert "secret" not in " ".join(made.arguments)


def test_the_callers_ways_into_a_container_are_closed() -> None:
    made = command(TRAIN, _cluster(), CHECKOUT)
    foreign = (
        "APPTAINERENV_LD_PRELOAD",
        "SINGULARITYENV_X",
        "APPTAINER_BIND",
        "SINGULARITY_BINDPATH",
    )
    given = {**dict.fromkeys(foreign, "/host"), "APPTAINER_CACHEDIR": "/scratch/cache"}
    environment = with_passed(made, given)
    assert not set(foreign) & set(environment)
    assert environment["APPTAINER_CACHEDIR"] == "/scratch/cache"  # what Apptainer itself needs


@pytest.mark.parametrize("container", ["apptainer", "docker"])
def test_a_path_that_cannot_be_bound_is_one_line(container: str) -> None:
    with pytest.raises(LaunchError, match=r"/a:b: a path with ':' cannot be bound"):
        command(TRAIN, _cluster(container=container), Path("/a:b"))
    with pytest.raises(LaunchError, match=r"/c,d: a path with ',' cannot be bound"):
        command(TRAIN, _cluster(container=container, scratch="/c,d"), CHECKOUT)
    assert command(TRAIN, _cluster(container="bare"), Path("/a:b")).arguments


def test_a_gpu_comes_with_the_machines_driver_before_ngcs() -> None:
    arguments = command(TRAIN, _cluster(gpus=True), CHECKOUT).arguments
    assert "--nv" in arguments
    assert "/scratch/me/cuda-compat:/usr/local/cuda/compat/lib" in arguments


def test_docker_runs_as_the_user_on_a_read_only_root() -> None:
    made = command(
        TRAIN, _cluster(container="docker", image="m:1", gpus=True, environment=["TOKEN"]), CHECKOUT
    )
    words = " ".join(made.arguments)
    assert words.startswith("docker run --rm --init --read-only")
    for part in (
        "--volume /work/checkout:/work/checkout",
        "--workdir /work/checkout",
        "--gpus all",
        "--user ",
        "--env TOKEN ",
    ):
        assert part in words
    assert made.arguments[-2:] == ("m:1", "train")


def test_docker_binds_a_directory_to_another_place_where_that_is_asked_for() -> None:
    binds = ["/m", "/a:/b", "/c:/c:ro"]
    made = command(TRAIN, _cluster(container="docker", image="m:1", binds=binds), CHECKOUT)
    volumes = [
        b for a, b in zip(made.arguments, made.arguments[1:], strict=False) if a == "--volume"
    ]
    assert {"/m:/m", "/a:/b", "/c:/c:ro"} <= set(volumes)


def test_the_links_that_hide_ngcs_driver(tmp_path: Path) -> None:
    cluster = _cluster(scratch=None)
    prepare_scratch(cluster, tmp_path)
    prepare_scratch(cluster, tmp_path)
    compat = tmp_path / "runs/scratch/cuda-compat"
    links = {path.name: str(path.readlink()) for path in compat.iterdir()}
    assert links == {
        "libcuda.so": "/.singularity.d/libs/libcuda.so",
        "libcuda.so.1": "/.singularity.d/libs/libcuda.so.1",
    }
