"""The tokenizer inside a GGUF file as Hugging Face files, by transformers."""

from pathlib import Path
from typing import Any

from minilingua.core.errors import CheckpointError
from minilingua.core.files import write_json, write_text
from minilingua.core.tokenizer_files import TEMPLATE_FILE, TOKEN_NAMES


def unpack_gguf_tokenizer(file: Path, destination: Path) -> None:
    """Writes tokenizer.json, tokenizer_config.json and the chat template.

    Args:
        file: a GGUF file (``core.gguf_files`` finds it).
        destination: a directory without them.

    Raises:
        CheckpointError: transformers cannot read its tokenizer, or it has no chat template.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            file.parent, gguf_file=file.name, local_files_only=True
        )
    except (ValueError, KeyError, OSError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{file}: transformers cannot read its tokenizer: {reason}"
        ) from error
    if not isinstance(tokenizer.chat_template, str):
        raise CheckpointError(f"{file}: its tokenizer has no chat template")
    write_text(
        destination / "tokenizer.json", tokenizer.backend_tokenizer.to_str(pretty=True) + "\n"
    )
    names = {name: getattr(tokenizer, name) for name in TOKEN_NAMES}
    write_json(
        destination / "tokenizer_config.json",
        {
            **{name: token for name, token in names.items() if token is not None},
            "clean_up_tokenization_spaces": False,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    write_text(destination / TEMPLATE_FILE, tokenizer.chat_template)
