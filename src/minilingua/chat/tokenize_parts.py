"""``minilingua tokenize --language CODE``: a part of the stage, for an array of jobs.

    job of one language ─► runs/parts/tokenize/<key>/<language>/ ─┐
    job of another      ─► ..                                     ├► stage ─► data/tokens
    what no job did: the stage itself ────────────────────────────┘

The key holds all that the tokens depend on, the code included: the stage takes a part only where it
would have made the same bytes, and makes the others itself. Parts are not DVC's: jobs may write
them before and while the stage runs.
"""

import argparse
import hashlib
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tqdm import tqdm

import minilingua
from minilingua.chat.tokenize_language import LanguageTokenizer, conversation_file
from minilingua.core.errors import ParamsError, did_you_mean
from minilingua.core.files import canonical_json, sha256_file, staged_directory, tree_digest
from minilingua.core.manifest import Manifest, read_manifest
from minilingua.core.records import SPLITS
from minilingua.params_file import load_params

PARTS = Path("runs/parts/tokenize")


def main(argv: Sequence[str]) -> int:
    """Tokenizes some languages and leaves them for the stage.

    Raises:
        MissingInputError: a file of conversations or the tokenizer is missing.
        DataError: a line is not a conversation, or the chat template cannot be used.
        ParamsError: a language is not one of the run's.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua tokenize",
        description="Without flags: the stage tokenize, conversations to tokens and loss mask. Its "
        "parameters are params.yaml; `dvc repro tokenize` runs it. With --language: that part of "
        "it, which the stage then only collects; jobs of several languages may run side by side.",
    )
    parser.add_argument(
        "--language", action="append", required=True, metavar="CODE", help="may be repeated"
    )
    arguments = parser.parse_args(argv)
    params = load_params()
    for code in arguments.language:
        if code not in params.languages:
            raise ParamsError(
                f"--language {code}: not in languages of params.yaml: "
                f"{', '.join(params.languages)}{did_you_mean(code, params.languages)}"
            )
    tokenizer = LanguageTokenizer.load(params)
    with tqdm(unit="conversation", disable=None) as progress:
        for code in dict.fromkeys(arguments.language):
            part = part_of(tokenizer, code)
            if not part.exists():
                with staged_directory(part) as aside:
                    manifest = tokenizer.write(code, aside, progress)
                    manifest.write(aside / "manifest.json")
            print(f"{code}: {part}")  # noqa: T201 - what the command says
    return 0


def collect(tokenizer: LanguageTokenizer, language: str, directory: Path) -> Manifest | None:
    """Copies a finished part below ``directory`` and returns its counts; None: there is none."""
    if not PARTS.exists():  # the usual case, and digests take time
        return None
    part = part_of(tokenizer, language)
    if not part.exists():
        return None
    for split in SPLITS:
        shutil.copytree(part / split / language, directory / split / language)
    return read_manifest(part / "manifest.json")


def part_of(tokenizer: LanguageTokenizer, language: str) -> Path:
    """Returns where the part of a language is, or will be.

    Raises:
        MissingInputError: a file of conversations is missing.
    """
    inputs = {
        "code": _code_digest(),
        "tokenizer": tokenizer.digest,
        "truncate_to": tokenizer.truncate_to,
        "conversations": [sha256_file(conversation_file(split, language)) for split in SPLITS],
    }
    key = hashlib.sha256(canonical_json(inputs).encode()).hexdigest()[:16]
    return PARTS / key / language


@cache
def _code_digest() -> str:
    return tree_digest(Path(minilingua.__file__).parent)
