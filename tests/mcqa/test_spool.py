from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.records import MultipleChoiceItem
from minilingua.mcqa.build import Question
from minilingua.mcqa.render import escaped_question, unescaped_question
from minilingua.mcqa.spool import Spool, distinct, spool_questions
from tests.mcqa.test_build import item, selected

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda text: bool(text.strip())
)


@settings(max_examples=40)
@given(texts=st.lists(TEXTS, max_size=8), language=st.sampled_from(["de", "el"]))
def test_what_is_spooled_comes_back_escaped(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], language: str
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    questions = [
        selected(item(text, (f"a {text}", f"b {text}"), 0, language, row=text)) for text in texts
    ]
    index = spool_questions(directory, 0, questions)
    with Spool(directory) as spool:
        found = list(spool.questions(index[language])) if questions else []
    assert found == [escaped_question(question) for question in questions]
    assert [unescaped_question(question) for question in found] == questions


def questions_of(source: str, items: list[MultipleChoiceItem]) -> list[Question]:
    return [selected(one) for one in items if one.source == source]


def test_the_order_of_items_does_not_matter(tmp_path: Path) -> None:
    items = [
        item(
            question=f"Frage {number % 5}?",
            options=("ja", f"nein {source}"),
            answer=0,
            language="de",
            source=source,
            row=f"{source}:{number}",
        )
        for number in range(10)
        for source in ("include", "exams")
    ]
    found = []
    for number, order in enumerate((items, items[::-1])):
        directory = tmp_path / str(number)
        directory.mkdir()
        sources = ["exams", "include"]
        parts = [
            spool_questions(directory, place, questions_of(source, order))["de"]
            for place, source in enumerate(sources)
        ]
        with Spool(directory) as spool:
            repeated: Counter[str] = Counter()
            index = distinct(parts, spool, lambda item, _: repeated.update([item.source]))  # noqa: B023
            found.append((list(spool.questions(index)), repeated))
    assert found[0] == found[1]
    kept, repeated = found[0]
    assert [question.key for question in kept] == sorted({question.key for question in kept})
    assert [(question.source, question.row) for question in kept].count(("exams", "exams:0")) == 1
    assert {question.source for question in kept} == {"exams"}
    assert repeated == {"exams": 5, "include": 10}


def test_a_question_that_names_its_fact_stays(tmp_path: Path) -> None:
    plain = selected(item(source="arc_challenge"))
    known = replace(plain, source="exams", fact="river:AT")
    parts = [
        spool_questions(tmp_path, 0, [plain])["en"],
        spool_questions(tmp_path, 1, [known])["en"],
    ]
    with Spool(tmp_path) as spool:
        dropped: list[tuple[str, str]] = []
        index = distinct(
            parts, spool, lambda *both: dropped.append((both[0].source, both[1].source))
        )
        (kept,) = spool.questions(index)
    assert (kept.source, kept.fact) == ("exams", "river:AT")
    assert dropped == [("arc_challenge", "exams")]


def test_no_questions_are_no_index(tmp_path: Path) -> None:
    assert spool_questions(tmp_path, 0, []) == {}
    with Spool(tmp_path) as spool:
        assert len(distinct([], spool, lambda *_: pytest.fail("there is nothing to drop"))) == 0
