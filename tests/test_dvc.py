"""dvc.yaml is true: code dependencies are import closures, parameters are what the code reads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from minilingua.cli import STAGES
from minilingua.core.files import tree_files
from minilingua.params import Params, Section

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
DVC: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]

# Heavy stages are launched; where they run is not part of what is computed.
ENTRY_MODULES = {name: command.target.partition(":")[0] for name, command in STAGES.items()} | {
    "train": "minilingua.training.worker",
    "convert": "minilingua.conversion.stage",
    "evaluate": "minilingua.evaluation.stage",
}


# They check params.yaml and compute nothing from it; what is in it, DVC compares by value. As code
# dependencies they would make every new parameter of one stage a reason to run all the others.
VALIDATION = ("minilingua.params", "minilingua.params_file")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    graph = grimp.build_graph("minilingua", cache_dir=None)
    for module in sorted(graph.modules):
        if module.startswith(VALIDATION):
            graph.remove_module(module)
    return graph


def test_parameters_hold_values_and_compute_nothing() -> None:
    sections: list[type[Section]] = [Params, *Section.__subclasses__()]
    assert len(sections) > 10
    for section in sections:
        own = {name for name in vars(section) if not name.startswith(("_", "model_"))}
        assert own == set(), f"{section.__name__} computes {sorted(own)}"


def _file_of(module: str) -> Path:
    path = SOURCE / module.replace(".", "/")
    file = path.with_suffix(".py")  # first: beside templates.py, templates/ holds its data
    return file if file.exists() else path / "__init__.py"


def _closure(graph: grimp.ImportGraph, module: str) -> set[Path]:
    """The files that importing ``module`` reads: itself, what it imports, and their packages."""
    modules = {module} | set(graph.find_upstream_modules(module))
    packages = {
        ".".join(parts[:depth])
        for parts in (name.split(".") for name in modules)
        for depth in range(1, len(parts))
    }
    return {_file_of(name) for name in modules | packages}


def _listed(stage: str) -> Iterator[Path]:
    """The files below src/ that a stage depends on, data files included."""
    for dependency in DVC[stage].get("deps", []):
        path = ROOT / dependency
        if path.is_relative_to(SOURCE):
            yield from tree_files(path)


def test_the_stages_are_those_of_the_command_line() -> None:
    assert list(DVC) == list(STAGES)
    assert all(DVC[stage]["cmd"] == f"minilingua {stage}" for stage in STAGES)


@pytest.mark.parametrize("stage", list(STAGES))
def test_code_dependencies_are_the_import_closure(stage: str, graph: grimp.ImportGraph) -> None:
    expected = {str(path.relative_to(ROOT)) for path in _closure(graph, ENTRY_MODULES[stage])}
    listed = {str(path.relative_to(ROOT)) for path in _listed(stage) if path.suffix == ".py"}
    assert listed == expected


def test_every_data_file_of_a_stage_package_is_a_dependency() -> None:
    listed = {path for stage in DVC for path in _listed(stage)}
    packages = {ENTRY_MODULES[stage].split(".")[1] for stage in STAGES}
    data = [
        path
        for package in packages
        for path in tree_files(SOURCE / "minilingua" / package)
        if path.suffix != ".py"
    ]
    assert len(data) > 30
    assert [path for path in data if path not in listed] == []


@pytest.mark.parametrize("stage", list(STAGES))
def test_parameters_are_those_that_the_code_reads(stage: str, graph: grimp.ImportGraph) -> None:
    sections = "|".join(Params.model_fields)
    read = {
        name
        for path in _closure(graph, ENTRY_MODULES[stage])
        for name in re.findall(rf"\bparams\.({sections})\b", path.read_text())
    }
    assert read == set(DVC[stage]["params"])


def test_every_path_is_made_by_one_stage_or_is_in_git() -> None:
    made = {
        out if isinstance(out, str) else next(iter(out)) for s in DVC.values() for out in s["outs"]
    }
    for stage in DVC.values():
        for dependency in stage.get("deps", []):
            inside = any(
                Path(dependency) == Path(out) or Path(out) in Path(dependency).parents
                for out in made
            )
            assert inside or (ROOT / dependency).exists(), dependency
