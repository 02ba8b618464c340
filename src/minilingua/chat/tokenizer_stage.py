"""Stage ``tokenizer``: a tokenizer with a chat template in ``models/tokenizer``."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from minilingua.chat.encode import ConversationEncoder
from minilingua.chat.gguf import unpack_gguf_tokenizer
from minilingua.chat.sentencepiece_bpe import fast_tokenizer, train_sentencepiece
from minilingua.chat.tokenizer_files import write_tokenizer_files
from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import read_jsonl, require, staged_directory, write_text
from minilingua.core.gguf_files import find_gguf
from minilingua.core.hub_models import fetch_model
from minilingua.core.records import Conversation
from minilingua.core.tokenizer_files import TEMPLATE_FILE, TokenizerFiles, read_tokenizer_files
from minilingua.params import Params

CONVERSATIONS = Path("data/conversations")
OUTPUT = Path("models/tokenizer")
_COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)


def run(params: Params) -> None:
    """Trains, copies or downloads the tokenizer.

    Raises:
        MissingInputError: the training split or the local directory is missing.
        DataError: the tokenizer or its template cannot be used.
        CheckpointError: the GGUF file is none, or holds no tokenizer.
        ParamsError: the vocabulary size does not fit the training split, or the model of the hub
            is not pinned.
        DownloadError: the tokenizer of the hub cannot be had.
    """
    with staged_directory(OUTPUT) as aside:
        if params.tokenizer.origin == "train":
            model = train_sentencepiece(_training_texts(), params.tokenizer.vocab_size)
            write_tokenizer_files(aside, fast_tokenizer(model))
            files = read_tokenizer_files(aside)
        elif params.tokenizer.hub is not None:
            source = fetch_model(
                "tokenizer", params.tokenizer.hub, params.tokenizer.revision, _choose_files
            )
            files = _copy_local(source, aside)
        elif params.tokenizer.origin == "gguf":
            source = find_gguf("tokenizer", params.tokenizer.path or "")
            unpack_gguf_tokenizer(source, aside)
            files = read_tokenizer_files(aside)
        else:
            files = _copy_local(Path(params.tokenizer.path or ""), aside)
        if files.vocab_size != params.tokenizer.vocab_size:
            raise DataError(
                f"{files.path}: the vocabulary has {files.vocab_size} tokens where "
                f"tokenizer.vocab_size in params.yaml is {params.tokenizer.vocab_size}"
            )
        ConversationEncoder(files)  # refuses a template that `tokenize` could not use
    print(f"tokenizer: {files.vocab_size} tokens in {OUTPUT}")  # noqa: T201 - the stage's report


def _training_texts() -> Iterator[str]:
    """Yields every content of the training split, language by language."""
    files = sorted(require(CONVERSATIONS / "train", "minilingua curate").glob("*.jsonl"))
    for file in files:
        for conversation in read_jsonl(file, Conversation):
            for message in conversation.messages:
                yield message.content


def _choose_files(paths: Iterable[str]) -> list[str]:
    return [path for path in sorted(paths) if path in (*_COPIED, TEMPLATE_FILE)]


def _copy_local(source: Path, destination: Path) -> TokenizerFiles:
    if not source.is_dir():
        raise MissingInputError(
            f"{source} is missing; tokenizer.path in params.yaml names a directory with a "
            "Hugging Face tokenizer"
        )
    files = read_tokenizer_files(source, made_by="save_pretrained of a fast tokenizer")
    for name in _COPIED:
        if (source / name).exists():
            shutil.copyfile(source / name, destination / name)
    write_text(destination / TEMPLATE_FILE, files.template)
    return files
