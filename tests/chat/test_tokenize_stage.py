import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from minilingua.chat import stream, tokenize_stage
from minilingua.chat.encode import ConversationEncoder
from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import read_jsonl, tree_digest, write_jsonl
from minilingua.core.records import SPLITS, Conversation
from minilingua.core.tokenizer_files import read_tokenizer_files
from minilingua.core.tokens import open_token_file
from minilingua.params import Params, TokenizeParams
from tests.chat.corpus import conversation

TOKENS = Path("data/tokens")


@pytest.fixture
def here(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("data", "models"):
        shutil.copytree(workspace / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    return tmp_path


def test_rows_in_the_order_of_the_file_as_the_encoder_makes_them(
    here: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BATCH_CHARACTERS", 700)  # several batches, the last one partial
    tokenize_stage.run(params)
    encoder = ConversationEncoder(read_tokenizer_files(here / "models/tokenizer"))
    for split in SPLITS:
        for language in params.languages:
            source = Path("data/conversations") / split / f"{language}.jsonl"
            items = list(read_jsonl(source, Conversation))
            found = open_token_file(TOKENS / split / language)
            assert len(found) == len(items)
            for row, item in enumerate(items):
                outcome = encoder.encode(item)
                assert outcome.conversation is not None
                assert found[row].id == item.id
                assert found[row].tokens.tolist() == outcome.conversation.tokens.tolist()
                assert found[row].loss_mask.tolist() == outcome.conversation.loss_mask.tolist()


@pytest.mark.usefixtures("here")
def test_bytes_do_not_depend_on_batches_processes_or_runs(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenize_stage.run(params)
    first = tree_digest(TOKENS)
    with monkeypatch.context() as patch:
        patch.setattr(tokenize_stage, "processes_for", lambda _: 2)
        tokenize_stage.run(params)
    assert tree_digest(TOKENS) == first
    monkeypatch.setattr(stream, "BATCH_CHARACTERS", 300)
    tokenize_stage.run(params)
    assert tree_digest(TOKENS) == first
    assert sorted(file.name for file in TOKENS.iterdir()) == sorted(
        [*SPLITS, "manifest.json", "token_counts.csv"]
    )


@pytest.mark.usefixtures("here")
def test_counts_agree_with_the_token_files(params: Params) -> None:
    tokenize_stage.run(params)
    with (TOKENS / "token_counts.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["split"], row["language"]) for row in rows] == [
        (split, language) for split in SPLITS for language in params.languages
    ]
    for row in rows:
        file = open_token_file(TOKENS / row["split"] / row["language"])
        assert int(row["conversations"]) == len(file)
        assert int(row["tokens"]) == len(file.tokens)
        assert int(row["supervised_tokens"]) == int(file.loss_mask.sum())
        assert 1 < float(row["tokens_per_word"]) < 6
    manifest = json.loads((TOKENS / "manifest.json").read_text())
    assert manifest["details"]["tokenizer_digest"] == tree_digest(Path("models/tokenizer"))
    assert manifest["rows_kept"] == sum(int(row["conversations"]) for row in rows)


@pytest.mark.usefixtures("here")
def test_fertility_counts_text_without_template(params: Params) -> None:
    for split in SPLITS:
        item = conversation(("user", "12 34"), ("assistant", "5 6 7"))
        write_jsonl(Path("data/conversations") / split / "en.jsonl", [item])
    tokenize_stage.run(params.model_copy(update={"languages": ("en",)}))
    row = (TOKENS / "token_counts.csv").read_text().splitlines()[1]
    # digits and spaces are tokens of their own: 4 + 1 and 3 + 2 of them, in 5 words
    assert row == "train,en,1,15,6,2.000,0"


@pytest.mark.usefixtures("here")
def test_dropped_rows_are_counted_by_reason(params: Params) -> None:
    source = Path("data/conversations/train/en.jsonl")
    items = list(read_jsonl(source, Conversation))
    write_jsonl(source, [conversation(("user", "?"), ("assistant", "")), *items])
    tokenize_stage.run(params)
    manifest = json.loads((TOKENS / "manifest.json").read_text())
    assert manifest["dropped"] == {"no_supervised_tokens": {"aya": {"en": 1}}}
    assert len(open_token_file(TOKENS / "train/en")) == len(items)


@pytest.mark.usefixtures("here")
def test_an_empty_split_gives_an_empty_token_file(params: Params) -> None:
    Path("data/conversations/test/en.jsonl").write_text("")
    tokenize_stage.run(params)
    assert len(open_token_file(TOKENS / "test/en")) == 0


@pytest.mark.usefixtures("here")
def test_bad_input_is_one_clear_line_and_leaves_the_old_tokens(params: Params) -> None:
    tokenize_stage.run(params)
    before = tree_digest(TOKENS)
    source = Path("data/conversations/train/de.jsonl")
    lines = source.read_text().splitlines()
    source.write_text("\n".join([lines[0], lines[1].replace('"user"', '"usr"')]))
    with pytest.raises(DataError, match=r"train/de\.jsonl:2: messages\.0\.role: "):
        tokenize_stage.run(params)
    source.unlink()
    with pytest.raises(MissingInputError, match=r"train/de\.jsonl is missing; `minilingua curate`"):
        tokenize_stage.run(params)
    assert tree_digest(TOKENS) == before


@pytest.mark.usefixtures("here")
def test_long_conversations_are_truncated_if_asked_and_counted(params: Params) -> None:
    source = Path("data/conversations/train/en.jsonl")
    items = list(read_jsonl(source, Conversation))
    long = conversation(("user", "one two " * 99), ("assistant", "three"))
    answer = conversation(("user", "one"), ("assistant", "two " * 99))
    write_jsonl(source, [long, *items, answer])
    tokenize_stage.run(params)
    whole = open_token_file(TOKENS / "train/en").lengths()
    asked = params.model_copy(update={"tokenize": TokenizeParams(truncate_to=100)})
    tokenize_stage.run(asked)
    file = open_token_file(TOKENS / "train/en")
    assert whole.max() > 100
    assert file.lengths()[1:].tolist() == whole[1:].tolist()  # the answer is never cut
    assert 96 <= file.lengths()[0] <= 100
    assert file[0].id == long.id
    assert file.counts["aya"].truncated == 1
    assert file.counts["aya"].text_tokens < len(file.tokens)
    first, second = (TOKENS / "token_counts.csv").read_text().splitlines()[1:3]
    assert (first.split(",")[-1], second.split(",")[-1]) == ("1", "0")
    manifest = json.loads((TOKENS / "manifest.json").read_text())
    assert manifest["dropped"] == {}


@pytest.mark.usefixtures("here")
def test_every_row_knows_its_source(params: Params) -> None:
    source = Path("data/conversations/train/en.jsonl")
    items = list(read_jsonl(source, Conversation))
    told = [replace(item, source=("exams", "aya")[n % 2]) for n, item in enumerate(items)]
    write_jsonl(source, told)
    tokenize_stage.run(params)
    file = open_token_file(TOKENS / "train/en")
    assert [file[row].source for row in range(len(file))] == [item.source for item in told]
    words = {
        name: sum(
            len(turn.content.split())
            for item in told
            if item.source == name
            for turn in item.messages
        )
        for name in ("exams", "aya")
    }
    assert {name: count.words for name, count in file.counts.items()} == words
