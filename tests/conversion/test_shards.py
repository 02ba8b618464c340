"""Which tensor goes into which file, and that writing holds no file in memory."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from minilingua.conversion.shards import (
    INDEX,
    StoredTensors,
    plan_shards,
    write_shards,
)
from minilingua.llama_shapes import tensor_shapes
from minilingua.megatron_model.weight_map import megatron_shapes, megatron_to_hf

from .conftest import MODEL

SHAPES = tensor_shapes(MODEL, 262)


@given(st.integers(1, 200_000), st.sampled_from([2, 4]))
def test_every_tensor_is_in_one_file(max_bytes: int, width: int) -> None:
    shards = plan_shards(SHAPES, width, max_bytes)
    assert sorted(name for shard in shards for name in shard.names) == sorted(SHAPES)
    for shard in shards:
        size = sum(torch.Size(SHAPES[name]).numel() for name in shard.names) * width
        assert size <= max_bytes or len(shard.names) == 1
    files = [shard.file for shard in shards]
    if len(files) == 1:
        assert files == ["model.safetensors"]
    else:
        count = f"{len(files):05d}"
        assert files == [f"model-{n:05d}-of-{count}.safetensors" for n in range(1, len(files) + 1)]


class _Counting(dict[str, torch.Tensor]):
    """Tensors, and how often each was asked for."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__(tensors)
        self.asked: Counter[str] = Counter()

    def __getitem__(self, name: str) -> torch.Tensor:
        self.asked[name] += 1
        return super().__getitem__(name)


@pytest.mark.parametrize("max_bytes", [3_000, 9_000, 20_000, 10**9])
def test_each_tensor_is_read_once_whatever_the_files(tmp_path: Path, max_bytes: int) -> None:
    shapes = megatron_shapes(MODEL, 262)
    random = torch.Generator().manual_seed(1)
    tensors = {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    source = _Counting(tensors)
    files = write_shards(tmp_path, source, MODEL, 262, dtype=torch.float32, max_bytes=max_bytes)
    assert source.asked == dict.fromkeys(shapes, 1)
    written = {name: part for file in files for name, part in load_file(tmp_path / file).items()}
    assert set(written) == set(SHAPES)
    expected = megatron_to_hf(tensors, MODEL)
    assert all(torch.equal(written[name], expected[name]) for name in SHAPES)
    if len(files) > 1:
        index = json.loads((tmp_path / INDEX).read_text())
        assert set(index["weight_map"]) == set(SHAPES)
        assert {index["weight_map"][name] for name in SHAPES} == set(files)
        assert index["metadata"]["total_size"] == sum(part.nbytes for part in written.values())


def test_stored_tensors_are_rounded_once() -> None:
    source = {"a": torch.tensor([1.0 + 2**-12])}
    stored = StoredTensors(source, torch.bfloat16)
    assert list(stored) == ["a"]
    assert len(stored) == 1
    assert stored["a"].dtype == torch.float32
    assert stored["a"].item() == 1.0


_MEASURE = """
import resource, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from minilingua.conversion.shards import write_shards
from minilingua.conversion.trained import SafetensorsFile
from minilingua.megatron_model.weight_map import megatron_shapes
from minilingua.params import ModelParams

model = ModelParams(name="m", hidden_size=512, ffn_hidden_size=2048, layers=24, attention_heads=8,
    kv_groups=4, tied_embeddings=True, rope_base=1e4, norm_epsilon=1e-5, max_positions=64)
here = Path(sys.argv[1])
if sys.argv[2] == "make":
    save_file({n: torch.zeros(s) for n, s in megatron_shapes(model, 4096).items()}, here / "source")
    sys.exit()

def peak():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

from minilingua.conversion.streamed import StreamedFile
highest, before = 0, peak()
write = StreamedFile.write
def measured(*arguments):
    global highest
    highest = max(highest, peak())
    write(*arguments)
    highest = max(highest, peak())
StreamedFile.write = measured
files = write_shards(here, SafetensorsFile(here / "source"), model, 4096, dtype=torch.float32,
    max_bytes=int(sys.argv[3]))
assert len(files) == int(sys.argv[4]), files
print(highest - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize(("max_bytes", "files"), [(64_000_000, 7), (10**9, 1)])
def test_memory_holds_no_file(tmp_path: Path, max_bytes: int, files: int) -> None:
    """385 MB in tensors of at most 8.4 MB; mapped pages of the source are the system's."""
    for step in ("make", "write"):
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(tmp_path), step, str(max_bytes), str(files)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 2 * 8_400_000
