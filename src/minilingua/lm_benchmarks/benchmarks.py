"""The benchmarks of the reference, and what lm-eval has of them: files, columns, languages.

| name | data set | rows used |
|---|---|---|
| ``belebele`` | facebook/belebele | test |
| ``sib200`` | Davlan/sib200 | test; dev for examples |
| ``mmlux`` | openGPT-X/mmlux (EU20-MMLU) | test; dev for examples |
| ``global_mmlu`` | CohereForAI/Global-MMLU | test; dev for examples |
| ``flores`` | FLORES-200 | devtest, dev for examples; through the chat template dev |
| ``massivesum`` | MassiveSumm | the first 100 articles of fewer than 500 words |

Schemas are asserted when a file is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from minilingua.core.errors import DataError
from minilingua.core.languages import LANGUAGES, NATURAL_LANGUAGES
from minilingua.lm_benchmarks.mirror import Row, find, names_of, read, read_lines

Splits = dict[str, list[Row]]

TOPICS = (
    "science/technology", "travel", "politics", "sports", "health", "entertainment", "geography",
)  # fmt: skip
"""The categories of SIB-200, in the order in which they are offered."""

SUMMARIES = 100
"""Articles of MassiveSumm a language, as the reference took them."""
_LONGEST_ARTICLE = 500
"""Words; longer articles are left out, as by the reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One public data set."""

    name: str
    title: str
    origin: str
    """Where its files can be had."""
    licence: str
    files: tuple[str, ...]
    """Patterns of its files below the mirror, with the placeholders of ``mirror.names_of``."""
    languages: tuple[str, ...]
    """Those of ours that it has."""
    rows: Callable[["Benchmark", Path, str], Splits]

    def paths(self, mirror: Path, language: str) -> list[Path]:
        """Returns the files of a language.

        Raises:
            MissingInputError: one is missing.
        """
        return [path for each in self.files for path in find(mirror, each, language, self.origin)]

    def load(self, mirror: Path, language: str) -> Splits:
        """Returns split ─► rows of a language.

        Raises:
            MissingInputError: a file is missing.
            DataError: a file is not what the benchmark says.
        """
        return self.rows(self, mirror, language)


def _belebele(benchmark: Benchmark, mirror: Path, language: str) -> Splits:
    answers = [f"mc_answer{number}" for number in range(1, 5)]
    columns: dict[str, type] = {
        "flores_passage": str,
        "question": str,
        **dict.fromkeys(answers, str),
    }
    columns["correct_answer_num"] = int
    paths = benchmark.paths(mirror, language)
    rows = read(paths, columns)
    for row in rows:
        _check_index(row["correct_answer_num"] - 1, 4, paths[0], "correct_answer_num")
        row["correct_answer_num"] = str(row["correct_answer_num"])  # lm-eval looks a text up
    return {"test": rows}


def _sib200(benchmark: Benchmark, mirror: Path, language: str) -> Splits:
    splits: Splits = {}
    for split, path in zip(("dev", "test"), benchmark.paths(mirror, language), strict=True):
        splits[split] = read([path], {"text": str, "category": str})
        for row in splits[split]:
            if row["category"] not in TOPICS:
                raise DataError(
                    f"{path}: category {row['category']!r}; allowed: {', '.join(TOPICS)}"
                )
    return splits


def _mmlux(benchmark: Benchmark, mirror: Path, language: str) -> Splits:
    splits: Splits = {}
    for split, pattern in zip(("dev", "test"), benchmark.files, strict=True):
        paths = find(mirror, pattern, language, benchmark.origin)
        splits[split] = read(paths, {"id": str, "question": str, "choices": list, "answer": int})
        for row in splits[split]:
            _check_index(row["answer"], len(row["choices"]), paths[0].parent, "answer")
            row["subject"] = row.pop("id").partition("/")[0]
    return splits


def _global_mmlu(benchmark: Benchmark, mirror: Path, language: str) -> Splits:
    columns: dict[str, type] = dict.fromkeys(
        ("question", "subject", "option_a", "option_b", "option_c", "option_d", "answer"), str
    )
    paths = benchmark.paths(mirror, language)
    splits = {
        split: read([path], columns) for split, path in zip(("dev", "test"), paths, strict=True)
    }
    for row in splits["test"]:
        if row["answer"] not in tuple("ABCD"):
            raise DataError(f"{paths[1]}: answer is {row['answer']!r}; expected A, B, C or D")
    return splits


def _flores(benchmark: Benchmark, mirror: Path, language: str) -> Splits:
    target = names_of(language)["flores"]
    paths = benchmark.paths(mirror, language)
    splits: Splits = {}
    for split, (english, other) in (("dev", paths[:2]), ("devtest", paths[2:])):
        pairs = (read_lines(english), read_lines(other))
        if len(pairs[0]) != len(pairs[1]):
            raise DataError(
                f"{other}: {len(pairs[1])} lines, but {english.name} has {len(pairs[0])}: "
                "they are to be parallel"
            )
        splits[split] = [
            {"sentence_eng_Latn": one, f"sentence_{target}": two}
            for one, two in zip(*pairs, strict=True)
        ]
    return splits


def _massivesum(benchmark: Benchmark, mirror: Path, language: str) -> Splits:
    paths = benchmark.paths(mirror, language)
    iso639_3 = LANGUAGES[language].iso639_3
    rows = [
        row
        for row in read(paths, {"text": str, "summary": str}, only=("language", iso639_3))
        if len(row["text"].split()) < _LONGEST_ARTICLE
    ]
    if not rows:
        raise DataError(
            f"{paths[0]}: no article in {iso639_3} of fewer than {_LONGEST_ARTICLE} words"
        )
    return {"test": rows[:SUMMARIES]}


def _check_index(index: int, options: int, path: Path, name: str) -> None:
    if not 0 <= index < options:
        raise DataError(f"{path}: {name} names option {index + 1} of {options}")


_ALL = tuple(NATURAL_LANGUAGES)


def _without(*codes: str) -> tuple[str, ...]:
    return tuple(code for code in _ALL if code not in codes)


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name="belebele",
            title="Belebele",
            origin="facebook/belebele on the Hugging Face hub",
            licence="CC BY-SA 4.0",
            files=("facebook/belebele/data/$flores.jsonl",),
            languages=_ALL,
            rows=_belebele,
        ),
        Benchmark(
            name="sib200",
            title="SIB-200",
            origin="Davlan/sib200 on the Hugging Face hub",
            licence="CC BY-SA 4.0",
            files=(
                "Davlan/sib200/data/$flores/dev.tsv",
                "Davlan/sib200/data/$flores/test.tsv",
            ),
            languages=_ALL,
            rows=_sib200,
        ),
        Benchmark(
            name="mmlux",
            title="MMLU-X",
            origin="openGPT-X/mmlux on the Hugging Face hub",
            licence="see its page",
            files=(
                "openGPT-X/mmlux/*_${mmlux}_dev.jsonl",
                "openGPT-X/mmlux/*_${mmlux}_test.jsonl",
            ),
            languages=_without("en"),
            rows=_mmlux,
        ),
        Benchmark(
            name="global_mmlu",
            title="Global-MMLU",
            origin="CohereForAI/Global-MMLU on the Hugging Face hub",
            licence="Apache-2.0",
            files=(
                "CohereForAI/Global-MMLU/$code/dev-*.parquet",
                "CohereForAI/Global-MMLU/$code/test-*.parquet",
            ),
            languages=_without("bg", "fi"),
            rows=_global_mmlu,
        ),
        Benchmark(
            name="flores",
            title="FLORES-200",
            origin="flores200_dataset.tar.gz of the NLLB project, unpacked",
            licence="CC BY-SA 4.0",
            files=(
                "flores200_dataset/dev/eng_Latn.dev",
                "flores200_dataset/dev/$flores.dev",
                "flores200_dataset/devtest/eng_Latn.devtest",
                "flores200_dataset/devtest/$flores.devtest",
            ),
            languages=_without("en"),
            rows=_flores,
        ),
        Benchmark(
            name="massivesum",
            title="MassiveSum",
            origin="MassiveSumm, by its authors' scripts, as columns language, text, summary",
            licence="of each newspaper",
            files=("massivesum.parquet",),
            languages=_without("en", "fi"),
            rows=_massivesum,
        ),
    )
}


def languages_of(name: str, wanted: Sequence[str]) -> list[str]:
    """Returns those of some languages that a benchmark has, in their order."""
    return [language for language in wanted if language in BENCHMARKS[name].languages]
