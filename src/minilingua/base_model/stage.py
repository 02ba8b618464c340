"""Stage ``base``: the model that fine-tuning starts from, in ``models/base``."""

from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.numpy import save_file

from minilingua.base_model.gguf import unpack_gguf
from minilingua.base_model.llama import Vocabulary, config, generation_config
from minilingua.base_model.local import WEIGHTS, choose_files, copy_local
from minilingua.base_model.random_init import random_tensors
from minilingua.core.errors import MissingInputError
from minilingua.core.files import staged_directory, write_json
from minilingua.core.gguf_files import find_gguf
from minilingua.core.hub_models import fetch_model
from minilingua.core.tokenizer_files import read_tokenizer_files
from minilingua.core.weights_file import save_weights
from minilingua.params import Params

TOKENIZER = Path("models/tokenizer")
OUTPUT = Path("models/base")


def run(params: Params) -> None:
    """Makes, copies or downloads the base model.

    Raises:
        MissingInputError: the tokenizer, the local model or the checkpoint is missing.
        DataError: the tokenizer has no end-of-turn token.
        CheckpointError: the model does not fit params.model or the tokenizer, or is no safetensors.
        ParamsError: the model of the hub is not pinned.
        DownloadError: it cannot be had.
    """
    vocabulary = read_vocabulary(TOKENIZER)
    with staged_directory(OUTPUT) as aside:
        if params.base.origin == "random":
            tensors = random_tensors(
                params.model, vocabulary.size, std=params.base.init_std, seed=params.seed
            )
            save_weights(aside / WEIGHTS, tensors, save_file)
            write_json(
                aside / "config.json", config(params.model, vocabulary, params.base.init_std)
            )
            write_json(aside / "generation_config.json", generation_config(vocabulary))
            parameters = sum(tensor.size for tensor in tensors.values())
            report = f"{parameters / 1e6:.2f} M random parameters"
        elif params.base.hub is not None:
            source = fetch_model("base", params.base.hub, params.base.revision, choose_files)
            copy_local(source, aside, params.model, vocabulary)
            report = f"{params.base.hub} at {params.base.revision}"
        elif params.base.origin == "gguf":
            source = find_gguf("base", params.base.path or "")
            with TemporaryDirectory(dir=aside.parent, prefix=".gguf.") as unpacked:
                unpack_gguf(source, Path(unpacked))
                copy_local(Path(unpacked), aside, params.model, vocabulary)
            report = f"{source.name}, dequantized,"
        elif params.base.origin == "megatron":
            report = _from_megatron(Path(params.base.path or ""), aside, params, vocabulary)
        else:
            source = Path(params.base.path or "")
            if not source.is_dir():
                raise MissingInputError(
                    f"{source} is missing; base.path in params.yaml names a directory with a "
                    "Hugging Face model"
                )
            copy_local(source, aside, params.model, vocabulary)
            report = f"copied from {source}"
    print(f"base: {report} in {OUTPUT}")  # noqa: T201 - the stage's report


def _from_megatron(source: Path, destination: Path, params: Params, vocabulary: Vocabulary) -> str:
    """Writes the weights of a legacy checkpoint as a Hugging Face model; returns what they are."""
    from safetensors.torch import save_file  # with torch, which takes a second to import

    from minilingua.megatron_model.legacy_checkpoint import read_legacy

    tensors, name = read_legacy(source, params.model, vocabulary.size)
    save_weights(destination / WEIGHTS, dict(tensors), save_file)
    write_json(destination / "config.json", config(params.model, vocabulary, params.base.init_std))
    write_json(destination / "generation_config.json", generation_config(vocabulary))
    return f"{name} of {source}, of Megatron-LM,"


def read_vocabulary(path: Path) -> Vocabulary:
    """Reads size and token ids from a Hugging Face tokenizer directory.

    Raises:
        MissingInputError: a file is missing.
        DataError: it cannot be used, or there is no eos token.
    """
    files = read_tokenizer_files(path)
    ids = files.special_token_ids()
    return Vocabulary(
        size=files.vocab_size,
        bos_token_id=ids.begin,
        eos_token_id=ids.end_of_turn,
        pad_token_id=ids.pad,
    )
