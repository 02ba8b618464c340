"""GGUF files that are none of ours, and the decimals that GGUF rounds."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from minilingua.base_model.gguf import _decimal, unpack_gguf
from minilingua.chat.gguf import unpack_gguf_tokenizer
from minilingua.core.errors import CheckpointError


def test_decimals_are_those_that_were_rounded_to_fp32() -> None:
    assert _decimal(9.999999747378752e-06) == 1e-05
    assert _decimal({"rope_theta": 100000.0, "rope_type": "default"}) == {
        "rope_theta": 100000.0,
        "rope_type": "default",
    }
    assert _decimal(8192) == 8192


@pytest.mark.skipif(
    not all(map(find_spec, ("gguf", "accelerate"))), reason="gguf is not installed: `make smollm2`"
)
def test_another_architecture_is_one_line(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "other.gguf", "strange")
    writer.add_block_count(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for unpack in (unpack_gguf, unpack_gguf_tokenizer):
        output = tmp_path / unpack.__name__
        output.mkdir()
        with pytest.raises(CheckpointError, match=r"other\.gguf: transformers cannot read") as told:
            unpack(tmp_path / "other.gguf", output)
        assert "\n" not in str(told.value)
        assert list(output.iterdir()) == []
