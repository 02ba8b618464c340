"""``minilingua preview``: writes the page, for looking at data before it is trained on."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from minilingua.core.errors import DataError, ParamsError, did_you_mean
from minilingua.core.files import require, tree_digest, write_text
from minilingua.core.records import SPLITS
from minilingua.core.tokenizer_files import read_tokenizer_files
from minilingua.core.tokens import open_token_file
from minilingua.params_file import load_params
from minilingua.preview.examples import SourcePreview, preview_language
from minilingua.preview.page import render
from minilingua.provenance.lineage import read_lineage
from minilingua.provenance.page_mark import mark_of_tokens

TOKENS = Path("data/tokens")
TOKENIZER = Path("models/tokenizer")
PAGE = Path("reports/preview.html")
EXAMPLES = 3


def main(argv: Sequence[str]) -> int:
    """Writes the page and says where it is.

    Raises:
        MissingInputError: there are no tokens, or no tokenizer.
        DataError: tokens are damaged, or were made by another tokenizer.
        ParamsError: a language is not one of the run's, the number of examples is none, or the
            page is no file.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua preview",
        description="Writes an HTML page with a few conversations of each language and source, "
        "tokens coloured by whether the loss counts them.",
    )
    parser.add_argument("--split", choices=SPLITS, default="train", help="default: train")
    parser.add_argument(
        "--language", action="append", metavar="CODE", help="only this one; may be repeated"
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=EXAMPLES,
        help=f"of each language and source (default: {EXAMPLES})",
    )
    parser.add_argument("--output", type=Path, default=PAGE, help=f"default: {PAGE}")
    arguments = parser.parse_args(argv)
    if arguments.examples < 1:
        raise ParamsError(f"--examples {arguments.examples}: at least 1")
    if not arguments.output.name:
        raise ParamsError(f"--output {arguments.output}: expected a file")
    params = load_params()
    for code in arguments.language or ():
        if code not in params.languages:
            raise ParamsError(
                f"--language {code}: not in languages of params.yaml: "
                f"{', '.join(params.languages)}{did_you_mean(code, params.languages)}"
            )
    languages = [code for code in params.languages if code in (arguments.language or [code])]
    tokenizer = read_tokenizer_files(require(TOKENIZER, "minilingua tokenizer")).tokenizer
    digest = tree_digest(TOKENIZER)
    previews: list[SourcePreview] = []
    for code in tqdm(languages, desc="preview", unit="language", disable=None):
        directory = TOKENS / arguments.split / code
        if open_token_file(directory).tokenizer_digest != digest:
            raise DataError(
                f"{directory} was made by another tokenizer than {TOKENIZER}; "
                "run `dvc repro tokenize`"
            )
        previews += preview_language(TOKENS, arguments.split, code, tokenizer, arguments.examples)
    page = render(
        previews,
        split=arguments.split,
        per_source=arguments.examples,
        experiment=params.experiment,
        mark=mark_of_tokens(read_lineage()),
    )
    write_text(arguments.output, page)
    print(f"{arguments.output}: {sum(len(one.examples) for one in previews)} conversations")  # noqa: T201
    return 0
