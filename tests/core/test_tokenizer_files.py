"""One reader of tokenizer directories: ids, templates old and new, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.tokenizer_files import SpecialTokenIds, read_tokenizer_files
from tests.base_model.conftest import write_tokenizer


def test_ids_of_the_special_tokens(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    files = read_tokenizer_files(tmp_path)
    assert files.special_token_ids() == SpecialTokenIds(begin=1, end_of_turn=2, pad=3)
    assert files.special_token_ids().for_config() == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
    }
    assert files.vocab_size == 320
    assert files.special_tokens() == {"<s>": 1, "</s>": 2, "<pad>": 3, "<x>": 319}


def test_without_a_padding_token_the_end_of_turn_pads(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, pad_token=None, bos_token=None)
    ids = read_tokenizer_files(tmp_path).special_token_ids()
    assert ids == SpecialTokenIds(begin=None, end_of_turn=2, pad=2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("of the key", "of the key"), ([{"name": "default", "template": "of a list"}], "of a list")],
)
def test_a_template_may_stand_in_the_configuration(
    tmp_path: Path, given: Any, expected: str
) -> None:
    write_tokenizer(tmp_path, chat_template=given)
    (tmp_path / "chat_template.jinja").unlink()
    assert read_tokenizer_files(tmp_path).template == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"pad_token": "<nowhere>"}, r"pad_token '<nowhere>' is not in the vocabulary"),
        ({"auto_map": {"AutoTokenizer": "x.y"}}, r"names code of its own \(auto_map\)"),
        ({"eos_token": None}, r"names no eos_token: generation would never stop"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, names: dict[str, Any], message: str) -> None:
    write_tokenizer(tmp_path, **names)
    with pytest.raises(DataError, match=message):
        read_tokenizer_files(tmp_path).special_token_ids()


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(DataError, match="has no chat template"):
        read_tokenizer_files(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 1}))
    with pytest.raises(DataError, match=r"tokenizer\.json: not a tokenizer"):
        read_tokenizer_files(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(MissingInputError, match=r"tokenizer\.json is missing"):
        read_tokenizer_files(tmp_path)
