"""Rows of a mirror: what is read, and that anything else is named."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.lm_benchmarks.benchmarks import BENCHMARKS, SUMMARIES, languages_of
from minilingua.lm_benchmarks.mirror import names_of


def test_languages_are_named_as_the_data_sets_name_them() -> None:
    assert names_of("pt") == {
        "code": "pt",
        "iso639_3": "por",
        "flores": "por_Latn",
        "mmlux": "PT-PT",
    }
    flores = {names_of(code)["flores"] for code in NATURAL_LANGUAGES}
    assert {"bul_Cyrl", "ell_Grek", "eng_Latn", "swe_Latn"} <= flores


def test_rows_of_every_benchmark(mirror: Path) -> None:
    sizes = {
        name: {split: len(rows) for split, rows in benchmark.load(mirror, "de").items()}
        for name, benchmark in BENCHMARKS.items()
    }
    assert sizes == {
        "belebele": {"test": 7},
        "sib200": {"dev": 4, "test": 4},
        "mmlux": {"dev": 6, "test": 8},
        "global_mmlu": {"dev": 3, "test": 5},
        "flores": {"dev": 2, "devtest": 4},
        "massivesum": {"test": 2},  # the long article is left out
    }
    pair = BENCHMARKS["flores"].load(mirror, "fi")["devtest"][1]
    assert pair == {
        "sentence_eng_Latn": "The English sentence 1 is about boats.",
        "sentence_fin_Latn": "The Finnish sentence 1 is about boats.",
    }
    subjects = {row["subject"] for row in BENCHMARKS["mmlux"].load(mirror, "de")["test"]}
    assert subjects == {"anatomy", "philosophy"}
    assert SUMMARIES == 100


def test_benchmarks_lack_some_of_our_languages() -> None:
    wanted = ("fi", "en", "de", "code")
    assert {name: languages_of(name, wanted) for name in BENCHMARKS} == {
        "belebele": ["fi", "en", "de"],
        "sib200": ["fi", "en", "de"],
        "mmlux": ["fi", "de"],
        "global_mmlu": ["en", "de"],
        "flores": ["fi", "de"],
        "massivesum": ["de"],
    }


def _appended(name: str, text: str) -> Callable[[Path], None]:
    def change(mirror: Path) -> None:
        with (mirror / name).open("a") as stream:
            stream.write(text)

    return change


def _written(name: str, text: str) -> Callable[[Path], None]:
    def change(mirror: Path) -> None:
        (mirror / name).write_text(text)

    return change


_BELEBELE = "facebook/belebele/data/deu_Latn.jsonl"
_SIB = "Davlan/sib200/data/deu_Latn/test.tsv"
_FLORES = "flores200_dataset/devtest/deu_Latn.devtest"
_MMLUX = "openGPT-X/mmlux/hendrycks_anatomy_DE_test.jsonl"


@pytest.mark.parametrize(
    ("name", "spoil", "error", "message"),
    [
        (
            "belebele",
            lambda mirror: (mirror / _BELEBELE).unlink(),
            MissingInputError,
            r"deu_Latn\.jsonl is missing from the mirror; it is of facebook/belebele on",
        ),
        ("belebele", _appended(_BELEBELE, "{\n"), DataError, r"deu_Latn\.jsonl: cannot be decoded"),
        ("belebele", _written(_BELEBELE, ""), DataError, r"deu_Latn\.jsonl: no rows"),
        (
            "belebele",
            _appended(_BELEBELE, '{"flores_passage": "A"}\n'),
            DataError,
            r"deu_Latn\.jsonl:8: no column 'question'; found: flores_passage",
        ),
        (
            "belebele",
            _appended(
                _BELEBELE,
                '{"flores_passage": "A", "question": "B", "mc_answer1": "a", "mc_answer2": "b", '
                '"mc_answer3": "c", "mc_answer4": "d", "correct_answer_num": "5"}\n',
            ),
            DataError,
            "correct_answer_num names option 5 of 4",
        ),
        (
            "mmlux",
            _appended(_MMLUX, '{"id": "a/1", "question": 3, "choices": [], "answer": 0}\n'),
            DataError,
            r"anatomy_DE_test\.jsonl:5: question is 3; expected str",
        ),
        (
            "sib200",
            _appended(_SIB, "9\tcooking\tA pot.\n"),
            DataError,
            r"test\.tsv: category 'cooking'; allowed: science/technology, travel",
        ),
        ("flores", _appended(_FLORES, "One more.\n"), DataError, "5 lines, but .* has 4"),
        ("flores", _appended(_FLORES, "\n"), DataError, r"devtest:5: an empty line"),
        (
            "massivesum",
            _written("massivesum.parquet", "no parquet"),
            DataError,
            r"massivesum\.parquet: cannot be decoded",
        ),
    ],
)
def test_what_is_wrong_with_a_mirror_is_named(
    tmp_path: Path,
    mirror: Path,
    name: str,
    spoil: Callable[[Path], None],
    error: type[Exception],
    message: str,
) -> None:
    spoiled = shutil.copytree(mirror, tmp_path / "mirror")
    spoil(spoiled)
    with pytest.raises(error, match=message):
        BENCHMARKS[name].load(spoiled, "de")


def test_a_language_without_articles_is_named(tmp_path: Path, mirror: Path) -> None:
    with pytest.raises(DataError, match=r"massivesum\.parquet: no rows with language swe"):
        BENCHMARKS["massivesum"].load(mirror, "sv")
    long = [{"language": "swe", "text": "word " * 500, "summary": "S"}]
    parquet.write_table(pa.Table.from_pylist(long), tmp_path / "massivesum.parquet")
    with pytest.raises(DataError, match="no article in swe of fewer than 500 words"):
        BENCHMARKS["massivesum"].load(tmp_path, "sv")
    parquet.write_table(pa.table({"lang": ["swe"]}), tmp_path / "massivesum.parquet")
    with pytest.raises(DataError, match=r"massivesum\.parquet: cannot be decoded: .*language"):
        BENCHMARKS["massivesum"].load(tmp_path, "sv")
