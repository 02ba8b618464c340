"""Writing an export (weights renamed, split, checked) against copying the same bytes.

Ours reads the trained weights, takes Megatron's joint tensors apart, looks for values that are not
finite, and writes files of Hugging Face's layout. The copy is Python's ``shutil.copyfile``. Neither
is flushed to the disk; what is read was written just before, and comes from memory; emptying the
directory is charged to neither.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Parts, Side, begin, interleave, timed
from benchmarks.line import compose
from benchmarks.models import FULL, SHAPES, SHORT, Shape, random_weights
from benchmarks.options import output_of, parser, repetitions_of
from benchmarks.results import Result, Row, report, row

if TYPE_CHECKING:
    from minilingua.params import Params

TARGET = 0.7


@dataclass(slots=True, kw_only=True)
class Export:
    """Trained weights, and where their export goes."""

    source: Path
    output: Path
    params: "Params"
    vocab_size: int
    max_bytes: int

    def write(self) -> None:
        """Writes the export."""
        import torch

        from minilingua.conversion.shards import write_shards
        from minilingua.conversion.trained import SafetensorsFile

        write_shards(
            self.output,
            SafetensorsFile(self.source),
            self.params.model,
            self.vocab_size,
            dtype=torch.float32,
            max_bytes=self.max_bytes,
        )

    def copy(self) -> None:
        """Copies the weights as they are."""
        shutil.copyfile(self.source, self.output / "copy")

    def emptied(self, work: Callable[[], None]) -> Side:
        """Returns the side that does ``work`` with an empty directory."""

        def side(repetition: int) -> Parts:
            shutil.rmtree(self.output, ignore_errors=True)
            self.output.mkdir()
            return timed(work)(repetition)

        return side


def measure(name: str, shape: Shape, scratch: Path, repetitions: int) -> tuple[list[Row], int]:
    """Measures one model, in one file and in four; returns its rows and its bytes."""
    from safetensors.torch import save_file

    from minilingua.megatron_model.weight_map import hf_to_megatron

    experiment = "smoke" if shape.preset == "smoke" else "sample"
    params = compose([f"experiment={experiment}", f"model={shape.preset}"])
    tensors = hf_to_megatron(random_weights(shape, params), params.model)
    source = scratch / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, source)
    del tensors
    size = source.stat().st_size
    rows = []
    for files in (1, 4):
        export = Export(
            source=source,
            output=scratch / "output",
            params=params,
            vocab_size=shape.vocab_size,
            max_bytes=size // files + 1,
        )
        timings = interleave(
            {"ours": export.emptied(export.write), "copy": export.emptied(export.copy)},
            repetitions=repetitions,
            label=f"{name}, {files} file(s)",
        )
        case = f"{name} ({size / 1e6:.0f} MB), {'one file' if files == 1 else 'several files'}"
        rows.append(
            row(timings, case, "copying the same bytes", ours="ours", theirs="copy", target=TARGET)
        )
    return rows, size


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    options = parser("conversion", __doc__, repetitions=9).parse_args(argv)
    settings = begin(options.threads)

    import torch

    torch.set_num_threads(settings["threads"])
    models = SHORT if options.short else FULL
    rows: list[Row] = []
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in models:
            measured, sizes[name] = measure(
                name, SHAPES[name], Path(scratch), repetitions_of(options)
            )
            rows += measured
    report(
        Result(
            benchmark="conversion",
            claim="An export against a copy of the same bytes.",
            settings={**settings, "models": list(models)},
            checks={"bytes": sizes},
            rows=rows,
        ),
        output_of(options),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
