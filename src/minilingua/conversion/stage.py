"""The stage ``convert``: the trained weights as a Hugging Face model, if they pass the gate.

    models/megatron ─► tensors accounted for ─► renamed, split, finite? ─► models/hf
                                     └─► logits, answers ──── equal? ◄───────┘ loaded back

Everything is written beside ``models/hf`` and takes its place at the very end. Called with flags,
the command exports any step that a run directory holds into a directory of your own.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minilingua.conversion.export import (
    copy_tokenizer,
    model_config,
    write_configs,
)
from minilingua.conversion.gate import GateReport, pass_gate
from minilingua.conversion.shards import write_shards
from minilingua.conversion.trained import (
    TrainedModel,
    open_step,
    open_trained,
    read_run,
    read_trained,
)
from minilingua.core.errors import CheckpointError, ParamsError
from minilingua.core.files import read_json, staged_directory, tree_digest, write_json
from minilingua.core.runs import find_run
from minilingua.core.tokenizer_files import read_tokenizer_files
from minilingua.megatron_model.weight_map import check_shapes, megatron_shapes
from minilingua.params import ConvertParams, Params

MEGATRON = Path("models/megatron")
BASE = Path("models/base")
TOKENIZER = Path("models/tokenizer")
OUTPUT = Path("models/hf")
REPORT = Path("reports/conversion.json")
_NOT_FOR_A_STEP = (OUTPUT, Path("models/release"))
_MEGABYTE = 10**6


def run(params: Params) -> None:
    """Exports ``models/megatron`` as ``models/hf``.

    Raises:
        MissingInputError: an output of an earlier stage is missing; the message names the stage.
        CheckpointError: weights are missing, unknown, of another shape or not finite, or the
            training was made with another base or tokenizer.
        ParityError: the export computes or writes otherwise than Megatron. Nothing is exported.
    """
    trained = read_trained(MEGATRON)
    report = _export(open_trained(MEGATRON), MEGATRON, trained, params.convert, OUTPUT)
    write_json(REPORT, asdict(report))


def main(argv: Sequence[str]) -> int:
    """Exports a step of a run, and returns the exit code.

    Raises:
        MissingInputError: there is no such run or step; the message names those that there are.
        CheckpointError, ParityError: as for ``run``.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua convert",
        description="Without flags: the stage, which exports the selected step to models/hf. With "
        "flags: export any evaluated or saved step of a run, whatever the parallel layout it was "
        "trained in, through the same gate. dtype, tolerance and file size are those of "
        "params.yaml.",
    )
    parser.add_argument("--step", type=int, required=True, help="optimizer step to export")
    parser.add_argument("--run", help="run key, or its beginning (default: the current run)")
    parser.add_argument("--output", type=Path, required=True, help="directory to write")
    arguments = parser.parse_args(argv)
    if arguments.output.resolve() in {path.resolve() for path in _NOT_FOR_A_STEP}:
        raise ParamsError(
            f"--output {arguments.output} holds the model that was selected and evaluated; "
            "name another one"
        )
    if arguments.output.exists() and not (arguments.output / "minilingua.json").exists():
        raise ParamsError(f"{arguments.output} exists and is no export; name another --output")
    from minilingua.params_file import load_params

    params = load_params()
    run_directory = find_run(arguments.run)
    trained = read_run(run_directory, arguments.step)
    source = open_step(run_directory, arguments.step, trained)
    _export(source, run_directory, trained, params.convert, arguments.output)
    return 0


def _export(
    source: Mapping[str, Tensor],
    where: Path,
    trained: TrainedModel,
    convert: ConvertParams,
    output: Path,
) -> GateReport:
    base_config = read_json(BASE / "config.json", "minilingua base")
    ids = read_tokenizer_files(TOKENIZER).special_token_ids()
    inputs = (BASE, TOKENIZER, *([MEGATRON] if where == MEGATRON else []))
    digests = {path.as_posix(): tree_digest(path) for path in inputs}
    if digests[TOKENIZER.as_posix()] != trained.tokenizer_digest:
        raise CheckpointError(
            f"{where} was trained on tokens of another tokenizer than {TOKENIZER}; "
            "run `dvc repro train`"
        )
    config = model_config(base_config, trained.model, ids, convert.dtype)
    if config.get("vocab_size") != trained.vocab_size:
        raise CheckpointError(
            f"{where} has a vocabulary of {trained.vocab_size}, {BASE} one of "
            f"{config.get('vocab_size')}; run `dvc repro train`"
        )
    check_shapes(source, megatron_shapes(trained.model, trained.vocab_size), str(where))

    generation = BASE / "generation_config.json"
    with staged_directory(output) as aside:
        files = _write_weights(aside, source, where, trained, convert)
        write_configs(aside, config, read_json(generation) if generation.exists() else {}, ids)
        copy_tokenizer(TOKENIZER, aside)
        write_json(aside / "minilingua.json", _provenance(trained, convert, digests, where))
        report = pass_gate(
            aside, source, trained.model, trained.vocab_size, ids.end_of_turn, convert
        )
    print(  # noqa: T201 - the stage's report
        f"{output}: step {trained.selected_step} in {len(files)} file(s) of {convert.dtype}; "
        f"logits differ from Megatron's by at most {report.largest:.2g} (tolerance "
        f"{convert.parity_tolerance:g}), {sum(report.generated.values())} generated tokens in "
        f"{len(report.generated)} languages are the same"
    )
    return report


def _write_weights(
    aside: Path,
    source: Mapping[str, Tensor],
    where: Path,
    trained: TrainedModel,
    convert: ConvertParams,
) -> list[str]:
    try:
        return write_shards(
            aside,
            source,
            trained.model,
            trained.vocab_size,
            dtype=getattr(torch, convert.dtype),
            max_bytes=convert.max_shard_mb * _MEGABYTE,
        )
    except CheckpointError as error:
        raise CheckpointError(f"{where}: {error}") from error


def _provenance(
    trained: TrainedModel, convert: ConvertParams, digests: dict[str, str], where: Path
) -> dict[str, Any]:
    """Returns what is known of the export; the whole story is the passport of a release."""
    run = {} if where == MEGATRON else {"run_key": where.name}
    return {
        "architecture": "LlamaForCausalLM",
        "dtype": convert.dtype,
        "model": trained.model.model_dump(mode="json"),
        "vocab_size": trained.vocab_size,
        "selected_step": trained.selected_step,
        "validation_loss": trained.validation_loss,
        "inputs": digests,
        **run,
    }
