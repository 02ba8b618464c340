"""A Hugging Face tokenizer directory, read and checked in one place.

    tokenizer.json            the ``tokenizers`` pipeline
    tokenizer_config.json     names of the special tokens, class to load it with
    chat_template.jinja       the template (older directories: ``chat_template`` in the config)

Reading needs neither transformers nor torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from minilingua.core.errors import DataError
from minilingua.core.files import read_json, require

TEMPLATE_FILE = "chat_template.jinja"
TOKEN_NAMES = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokenIds:
    """Ids of the special tokens that a model's configuration names."""

    begin: int | None
    end_of_turn: int
    """``eos_token``: what ends an assistant's turn (the tokenizer stage checks the template)."""
    pad: int
    """``pad_token``, or ``end_of_turn`` where the tokenizer has none: padding is masked anyway."""

    def for_config(self) -> dict[str, int | None]:
        """Returns them under the names that Hugging Face configurations use."""
        return {
            "bos_token_id": self.begin,
            "eos_token_id": self.end_of_turn,
            "pad_token_id": self.pad,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFiles:
    """A tokenizer directory in memory."""

    path: Path
    """Where it was read, for messages."""
    tokenizer: Tokenizer
    template: str
    """Source of the jinja chat template."""
    named_tokens: dict[str, str]
    """``bos_token``, ``eos_token``, .. ─► text of the token; unset ones are missing."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens, added ones included."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    def special_tokens(self) -> dict[str, int]:
        """Returns text ─► id of the control tokens."""
        return {
            token.content: index
            for index, token in self.tokenizer.get_added_tokens_decoder().items()
            if token.special
        }

    def special_token_ids(self) -> SpecialTokenIds:
        """Returns the ids that a model's configuration names.

        Raises:
            DataError: there is no ``eos_token``.
        """
        end = self._token_id("eos_token")
        if end is None:
            raise DataError(
                f"{self.path / 'tokenizer_config.json'} names no eos_token: generation would "
                "never stop"
            )
        pad = self._token_id("pad_token")
        return SpecialTokenIds(
            begin=self._token_id("bos_token"), end_of_turn=end, pad=end if pad is None else pad
        )

    def _token_id(self, name: str) -> int | None:
        found: int | None = self.tokenizer.token_to_id(self.named_tokens.get(name, ""))
        return found


def read_tokenizer_files(path: Path, made_by: str = "minilingua tokenizer") -> TokenizerFiles:
    """Reads a Hugging Face tokenizer directory.

    Raises:
        MissingInputError: tokenizer.json or tokenizer_config.json is missing.
        DataError: one of them is damaged, or there is no chat template.
    """
    file = require(path / "tokenizer.json", made_by)
    config_file = path / "tokenizer_config.json"
    config = read_json(config_file, made_by)
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # all that the Rust side raises is Exception itself
        raise DataError(f"{file}: not a tokenizer: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if "auto_map" in config:
        raise DataError(f"{config_file}: names code of its own (auto_map), which is never run")
    named = {name: _text(config[name]) for name in TOKEN_NAMES if config.get(name)}
    for name, token in named.items():
        if tokenizer.token_to_id(token) is None:
            raise DataError(f"{config_file}: {name} {token!r} is not in the vocabulary")
    return TokenizerFiles(
        path=path, tokenizer=tokenizer, template=_template(path, config), named_tokens=named
    )


def _text(token: Any) -> str:
    """Special tokens are plain strings, or objects with their text as ``content``."""
    return token["content"] if isinstance(token, dict) else str(token)


def _template(path: Path, config: dict[str, Any]) -> str:
    """Returns the template: its own file, or a key of the configuration (older directories)."""
    file = path / TEMPLATE_FILE
    if file.exists():
        return file.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several, by name
        template = {item["name"]: item["template"] for item in template}.get("default")
    if not isinstance(template, str):
        raise DataError(f"{path}: the tokenizer has no chat template ({TEMPLATE_FILE})")
    return template
