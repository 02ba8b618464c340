"""A file written tensor by tensor has the bytes of safetensors' own."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from minilingua.conversion.streamed import StreamedFile
from minilingua.core.errors import OutputError

_SHAPES = st.dictionaries(
    st.text("abc.019_", min_size=1, max_size=8),
    st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    min_size=1,
    max_size=6,
)
_TYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])


@given(shapes=_SHAPES, dtype=_TYPES, data=st.data())
def test_bytes_are_those_of_safetensors_in_any_order(
    shapes: dict[str, tuple[int, ...]], dtype: torch.dtype, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(list(shapes)))
    random = torch.Generator().manual_seed(1)
    tensors = {name: torch.randn(s, generator=random).to(dtype) for name, s in shapes.items()}
    with tempfile.TemporaryDirectory() as directory:
        expected, written = Path(directory) / "expected", Path(directory) / "written"
        save_file(tensors, expected, metadata={"format": "pt"})
        file = StreamedFile(written, shapes, dtype)
        for name in order:
            assert not file.complete
            file.write(name, tensors[name])
        assert file.complete
        file.close()
        assert written.read_bytes() == expected.read_bytes()


def test_only_what_was_announced_is_written_and_once(tmp_path: Path) -> None:
    file = StreamedFile(tmp_path / "file", {"a": (2, 3), "b": (4,)}, torch.float32)
    with pytest.raises(ValueError, match=r"a: torch.float32 \(3, 2\) was not announced"):
        file.write("a", torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"a: torch.bfloat16 \(2, 3\) was not announced"):
        file.write("a", torch.zeros(2, 3, dtype=torch.bfloat16))
    file.write("a", torch.zeros(2, 3))
    with pytest.raises(KeyError, match="a"):
        file.write("a", torch.zeros(2, 3))
    with pytest.raises(KeyError, match="c"):
        file.write("c", torch.zeros(4))
    file.close()


def test_a_directory_that_is_missing_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"^f\.safetensors: cannot be written: No such file or directory$"
    ):
        StreamedFile(tmp_path / "missing" / "f.safetensors", {"a": (1,)}, torch.float32)


_NO_ROOM = """
import resource, sys, torch
from pathlib import Path
from minilingua.conversion.streamed import StreamedFile
from minilingua.core.errors import OutputError

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    StreamedFile(Path(sys.argv[1]), {"a": (1000, 1000)}, torch.float32)
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere room is not taken ahead")
def test_room_is_taken_before_any_value_is_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NO_ROOM, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "file: cannot be written: File too large\n", done.stderr
