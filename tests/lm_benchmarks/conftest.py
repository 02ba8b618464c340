"""A mirror of invented rows in the real schemas, and two tiny models in a repository root."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from minilingua.core.languages import LANGUAGES
from minilingua.lm_benchmarks.mirror import names_of
from tests.evaluation.conftest import one_thread, tiny_llama, write_tokenizer

ROOT = Path(__file__).parents[2]
LANGUAGES_HERE = ("en", "de", "fi")


def _jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.Table.from_pylist(rows), path)


def _write_belebele(mirror: Path, code: str) -> None:
    rows = [
        {
            "link": "https://example.org",
            "question_number": number,
            "flores_passage": f"The ferry number {number} leaves the harbour at noon.",
            "question": f"When does ferry {number} leave? ",
            "mc_answer1": "at dawn",
            "mc_answer2": "at noon",
            "mc_answer3": "at dusk",
            "mc_answer4": "at night",
            "correct_answer_num": str(1 + number % 4),
            "dialect": names_of(code)["flores"],
            "ds": "2026-01-01",
        }
        for number in range(7)
    ]
    _jsonl(mirror / f"facebook/belebele/data/{names_of(code)['flores']}.jsonl", rows)


def _write_sib200(mirror: Path, code: str) -> None:
    folder = mirror / f"Davlan/sib200/data/{names_of(code)['flores']}"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("dev", "test"):
        lines = ["index_id\tcategory\ttext"]
        for number, topic in enumerate(("travel", "sports", "geography", "science/technology")):
            lines.append(f"{number}\t{topic}\tA tale {number} of hills, boats and ball games.")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")


def _write_mmlux(mirror: Path, code: str) -> None:
    for subject in ("anatomy", "philosophy"):
        for split, count in (("dev", 3), ("test", 4)):
            rows = [
                {
                    "id": f"{subject}/{split}/{number}",
                    "question": f"Which is number {number} of {subject}?",
                    "choices": ["one", "two", "three", "four"],
                    "answer": number % 4,
                }
                for number in range(count)
            ]
            name = f"hendrycks_{subject}_{names_of(code)['mmlux']}_{split}.jsonl"
            _jsonl(mirror / "openGPT-X/mmlux" / name, rows)


def _write_global_mmlu(mirror: Path, code: str) -> None:
    for split, count in (("dev", 3), ("test", 5)):
        rows = [
            {
                "sample_id": f"anatomy/{split}/{number}",
                "subject": "anatomy",
                "question": f"Which bone is number {number}?",
                **dict(
                    zip(
                        ("option_a", "option_b", "option_c", "option_d"),
                        ("rib", "shin", "jaw", "heel"),
                        strict=True,
                    )
                ),
                "answer": "ABCD"[number % 4],
            }
            for number in range(count)
        ]
        path = mirror / f"CohereForAI/Global-MMLU/{code}/{split}-00000-of-00001.parquet"
        _parquet(path, rows)


def _write_flores(mirror: Path, code: str) -> None:
    for split, count in (("dev", 2), ("devtest", 4)):
        folder = mirror / "flores200_dataset" / split
        folder.mkdir(parents=True, exist_ok=True)
        name = LANGUAGES[code].english_name
        lines = [f"The {name} sentence {number} is about boats." for number in range(count)]
        (folder / f"{names_of(code)['flores']}.{split}").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only; change a copy."""
    path = tmp_path_factory.mktemp("mirror")
    for code in LANGUAGES_HERE:
        _write_belebele(path, code)
        _write_sib200(path, code)
        _write_mmlux(path, code)
        _write_global_mmlu(path, code)
        _write_flores(path, code)
    articles = [
        {"language": LANGUAGES[code].iso639_3, "text": text, "summary": f"Boats of {code} sail."}
        for code in LANGUAGES_HERE
        for text in ("The boats sail at noon. " * 3, "long " * 600, "The boats rest at dusk.")
    ]
    _parquet(path / "massivesum.parquet", articles)
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/ of a repository root: tokenizer, base, hf."""
    path = tmp_path_factory.mktemp("models")
    write_tokenizer(path / "tokenizer")
    for name, seed in (("base", 0), ("hf", 1)):
        model = tiny_llama(seed)
        model.config.max_position_embeddings = 512
        model.save_pretrained(path / name)
    return path


@pytest.fixture
def root(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Returns a function that makes a repository root, in which some languages are chosen."""

    def make(languages: tuple[str, ...] = ("de", "fi")) -> Path:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "models").symlink_to(models)
        text = (ROOT / "params.yaml").read_text(encoding="utf-8")
        line = next(line for line in text.splitlines() if line.startswith("languages: ["))
        chosen = text.replace(line, f"languages: [{', '.join(languages)}]")
        (tmp_path / "params.yaml").write_text(chosen, encoding="utf-8")
        return tmp_path

    return make


__all__ = ["one_thread"]  # a fixture of every test here too
