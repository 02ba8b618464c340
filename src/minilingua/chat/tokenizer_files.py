"""The Hugging Face files of a new tokenizer, as ``core.tokenizer_files`` reads them.

    tokenizer.json            the ``tokenizers`` pipeline
    tokenizer_config.json     names of the special tokens, class to load it with
    special_tokens_map.json   the names again, for older readers
    chat_template.jinja       the template; the only copy of it in what we write

They are plain JSON, written here directly: importing transformers takes seconds.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from minilingua.chat.sentencepiece_bpe import BEGIN, END, PAD, ROLE_MARKERS, UNKNOWN
from minilingua.core.files import write_json, write_text
from minilingua.core.tokenizer_files import TEMPLATE_FILE

_DEFAULT_TEMPLATE = Path(__file__).with_name(TEMPLATE_FILE)


def write_tokenizer_files(path: Path, tokenizer: Tokenizer) -> None:
    """Writes a tokenizer of ``sentencepiece_bpe`` with our chat template into a directory."""
    names: dict[str, Any] = {
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "additional_special_tokens": list(ROLE_MARKERS),
    }
    write_text(path / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    write_json(
        path / "tokenizer_config.json",
        {
            **names,
            "clean_up_tokenization_spaces": False,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    write_json(path / "special_tokens_map.json", names)
    write_text(path / TEMPLATE_FILE, _DEFAULT_TEMPLATE.read_text(encoding="utf-8"))
