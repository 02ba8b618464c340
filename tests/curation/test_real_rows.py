"""mcqa and curate on all real rows beside the repository: every row is kept or has a reason."""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from minilingua.core.files import read_jsonl, write_json
from minilingua.core.manifest import Manifest, read_manifest
from minilingua.core.records import SPLITS, Conversation
from minilingua.core.rejects import Reject
from minilingua.curation import stage
from minilingua.mcqa import stage as mcqa
from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.sources.native import native_files, native_rows
from minilingua.sources.spec import load_spec
from tests.mcqa.test_read_back import RAW, REAL, ROOT, copy_real_rows

LANGUAGES = ("en", "de", "es", "it", "pt", "pl", "cs", "bg", "sv")
QUESTIONS = ("arc_challenge", "exams", "swefaq", "truthfulqa_cs")
INSTRUCTIONS = ("alpaca", "polyglot_prompt")
CHATTERBOT = {"de": "german", "es": "spanish"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Params]:
    """Runs both stages on all real rows, and stays where they ran."""
    if not REAL.is_dir():
        pytest.skip("the folder shared/data beside the repository, with real rows, is absent")
    committed = load_params(ROOT / "params.yaml")
    params = committed.model_copy(
        update={
            "languages": LANGUAGES,
            "sources": committed.sources.model_copy(update={"include": QUESTIONS + INSTRUCTIONS}),
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("real"))
        copy_real_rows()
        hub_form = RAW / "exams/multilingual/validation.parquet"
        hub_form.parent.mkdir()
        shutil.copy(REAL / "exams/hf_multilingual/validation.parquet", hub_form)
        for language in ("en", "de"):
            write_json_array(RAW / f"polyglot_prompt/xquad/train-{language}.json", xquad(language))
        for language in load_spec("polyglot_prompt").languages:
            if language in LANGUAGES and language not in ("en", "de"):
                write_json_array(RAW / f"polyglot_prompt/xquad/train-{language}.json", [])
        for language in load_spec("alpaca").languages:
            if language in LANGUAGES:
                path = RAW / "alpaca" / load_spec("alpaca").languages[language] / "train.json"
                write_json_array(path, dialogs(language))
        mcqa.run(params)
        stage.run(params)
        yield params


def xquad(language: str) -> list[dict[str, Any]]:
    """Returns XQuAD's questions as PolyglotPrompt has them: a passage and a question to a text."""
    articles = json.loads((REAL / f"xquad/xquad.{language}.json").read_text())["data"]
    return [
        {
            "input": f"{paragraph['context']}\n{question['question']}",
            "target": question["answers"][0]["text"],
            "answers": [answer["text"] for answer in question["answers"]],
            "samp_id": question["id"],
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]


def dialogs(language: str) -> list[dict[str, Any]]:
    """Returns a language's dialogs as Alpaca's rows: what is said, and what is said to it."""
    folder = REAL / "chatterbot" / CHATTERBOT.get(language, "none")
    rows = []
    for file in sorted(folder.glob("*.yml")):
        for turns in YAML(typ="safe", pure=True).load(file.read_text())["conversations"]:
            said = [str(turn) for turn in turns]
            rows += [
                {"instruction": one, "input": "", "output": other}
                for one, other in itertools.pairwise(said)
            ]
    return rows


def write_json_array(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, rows)


def raw_counts(languages: tuple[str, ...]) -> Counter[tuple[str, str]]:
    """Returns (source, language) ─► rows of the raw files."""
    found: Counter[tuple[str, str]] = Counter()
    for name in QUESTIONS + INSTRUCTIONS:
        spec = load_spec(name)
        for file in native_files(spec, RAW / name, languages):
            found.update((name, row.language) for row in native_rows(spec, file, languages))
    return found


def told(manifest: Manifest) -> Counter[tuple[str, str]]:
    """Returns (source, language) ─► rows kept and dropped."""
    rows = Counter(manifest.kept)
    for (_, source, language), count in manifest.dropped.items():
        rows[source, language] += count
    return rows


def test_every_row_is_kept_or_dropped_for_a_reason(real: Params) -> None:
    asked = read_manifest(Path("data/mcqa/manifest.json"))
    curated = read_manifest(Path("data/conversations/manifest.json"))
    rows = raw_counts(real.languages)
    assert {kind: count for kind, count in rows.items() if kind[0] in QUESTIONS} == told(asked)
    assert told(curated) == asked.kept + Counter(
        {kind: count for kind, count in rows.items() if kind[0] in INSTRUCTIONS}
    )
    written = Counter(
        (row.source, row.language)
        for split in SPLITS
        for language in real.languages
        for row in read_jsonl(Path(f"data/conversations/{split}/{language}.jsonl"), Conversation)
    )
    assert written == curated.kept


@pytest.mark.usefixtures("real")
def test_each_reason_has_a_sample() -> None:
    reasons = read_manifest(Path("data/conversations/manifest.json")).reasons()
    files = {path.stem: path for path in Path("data/conversations/rejects").glob("*.jsonl")}
    assert files.keys() == reasons.keys()
    for reason, path in files.items():
        sample = list(read_jsonl(path, Reject))
        assert 1 <= len(sample) <= reasons[reason]
        assert all(row.reason == reason and row.found for row in sample)


@pytest.mark.usefixtures("real")
def test_different_questions_survive_one_passage_and_one_template() -> None:
    """XQuAD asks several questions about a passage, EXAMS some hundred in one template."""
    curated = read_manifest(Path("data/conversations/manifest.json"))
    lost = curated.dropped.copy()
    for name in ("polyglot_prompt", "exams"):
        rows = sum(count for (source, _), count in told(curated).items() if source == name)
        similar = sum(
            count
            for (reason, source, _), count in lost.items()
            if source == name and reason in ("near_duplicate", "duplicate")
        )
        assert rows > 1000
        assert similar <= 0.01 * rows, name
