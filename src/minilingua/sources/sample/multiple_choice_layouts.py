"""Multiple-choice sources as they publish their data: files, columns and oddities."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from minilingua.core.languages import LANGUAGES
from minilingua.core.seeding import content_id
from minilingua.sources.sample.draw import QuestionRow
from minilingua.sources.sample.writers import SourceWriter

Questions = Mapping[str, Sequence[QuestionRow]]
"""Rows by language."""

LETTERS = "ABCDE"
DIGITS = "12345"
DIGIT_KEYS_EVERY = 25
"""One ARC row in so many is keyed 1-4 (in the real set 23 of 1,119)."""
ODD_COUNT_EVERY = 20
"""One ARC row in so many has three options, and one has five."""
THREE_OPTIONS_EVERY = {"de": 2, "fr": 2, "es": 4, "it": 11}
"""One EXAMS row in so many has three options (rarer in the other languages)."""
BAD_KEYS = {"de": 2}
"""EXAMS rows keyed "@", by language."""
REPEATED_OPTIONS = {"it": 1, "pl": 1}
"""EXAMS rows with an option that stands twice, by language."""
TEST_ONLY = ("de", "es", "fr")
"""Languages that EXAMS has no training split of."""


def arc_challenge(writer: SourceWriter, questions: Questions, rng: np.random.Generator) -> None:
    """Writes the hub's columns; keys are letters or digits, options three to five."""
    import pyarrow as pa

    texts = pa.list_(pa.string())
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("question", pa.string()),
            ("choices", pa.struct([("text", texts), ("label", texts)])),
            ("answerKey", pa.string()),
        ]
    )
    rows: list[tuple[dict[str, object], str | None]] = []
    for number, row in enumerate(questions["en"]):
        count = {3: 3, 11: 5}.get(number % ODD_COUNT_EVERY, 4)
        options = row.options(count, rng)
        labels = (LETTERS if number % DIGIT_KEYS_EVERY else DIGITS)[: len(options)]
        values: dict[str, object] = {
            "id": f"Sample_{number:04d}",
            "question": row.question,
            "choices": {"text": options, "label": list(labels)},
            "answerKey": labels[options.index(row.right)],
        }
        rows.append((values, row.fact))
    held = len(rows) // 5
    for split, part in (("train", rows[held:]), ("validation", rows[:held])):
        writer.parquet(f"ARC-Challenge/{split}-00000-of-00001.parquet", schema, part)


def swefaq(writer: SourceWriter, questions: Questions, rng: np.random.Generator) -> None:
    """Writes 4 to 34 candidates a question, as far as there are so many, and 0-based labels."""
    rows = []
    for row in questions["sv"]:
        options = row.options(int(rng.integers(4, 35)), rng)
        kind = row.fact.partition(":")[0]
        values = {
            "category_id": list(LANGUAGES).index("sv") + len(kind),
            "question": row.question,
            "candidate_answers": options,
            "label": options.index(row.right),
            "meta": {"category": kind, "source": "CLDR", "link": "https://cldr.unicode.org"},
        }
        rows.append((values, row.fact))
    held = len(rows) // 8
    for split, part in (("train", rows[held:]), ("dev", rows[:held])):
        writer.json_lines(f"swefaq_{split}.jsonl", part)


def truthfulqa_cs(writer: SourceWriter, questions: Questions, rng: np.random.Generator) -> None:
    """Writes the right choice first, followed by one to eleven wrong ones."""
    import pyarrow as pa

    targets = pa.struct([("choices", pa.list_(pa.string())), ("labels", pa.list_(pa.int64()))])
    rows = []
    for row in questions["cs"]:
        choices = [row.right, *row.wrong[: int(rng.integers(1, 12))]]
        marked = {"choices": choices, "labels": [1] + [0] * (len(choices) - 1)}
        values = {"question": row.question, "mc1_targets": marked, "mc2_targets": marked}
        rows.append((values, row.fact))
    writer.parquet(
        "multiple_choice/validation-00000-of-00001.parquet",
        pa.schema([("question", pa.string()), ("mc1_targets", targets), ("mc2_targets", targets)]),
        rows,
    )


def include(writer: SourceWriter, questions: Questions, rng: np.random.Generator) -> None:
    """Writes four option columns and a 0-based answer, one folder a language."""
    import pyarrow as pa

    text = pa.string()
    options_of = ("option_a", "option_b", "option_c", "option_d")
    about = ("language", "country", "domain", "subject", "regional_feature", "level")
    schema = pa.schema(
        [(name, text) for name in ("question", *options_of)]
        + [("answer", pa.int64())]
        + [(name, text) for name in about]
    )
    for language, asked in questions.items():
        name = LANGUAGES[language].english_name
        rows = []
        for row in asked:
            options = row.options(len(options_of), rng)
            values: dict[str, object] = {"question": row.question}
            values |= dict(zip(options_of, options, strict=True))
            values |= {"answer": options.index(row.right), "language": name, "country": ""}
            values |= {"domain": "Sample", "subject": row.fact.partition(":")[0]}
            values |= {"regional_feature": "agnostic", "level": "sample"}
            rows.append((values, row.fact))
        held = len(rows) // 10
        for split, part in (("test", rows[held:]), ("validation", rows[:held])):
            writer.parquet(f"{name}/{split}-00000-of-00001.parquet", schema, part)


def exams(writer: SourceWriter, questions: Questions, rng: np.random.Generator) -> None:
    """Writes both forms: JSON lines a language, and for languages with a test split the hub's.

    Some rows have three or five options, a few a key outside them or an option twice.
    """
    import pyarrow as pa

    texts = pa.list_(pa.string())
    hub: list[tuple[dict[str, object], str | None]] = []
    for language, asked in questions.items():
        rows = [
            (_exams_row(row, number, language, rng), row.fact) for number, row in enumerate(asked)
        ]
        if language in TEST_ONLY:
            hub += [(_as_on_hub(values), fact) for values, fact in rows]
            continue
        held = len(rows) // 4
        for split, part in (("train", rows[held:]), ("dev", rows[:held])):
            writer.json_lines(f"{language}/{split}.jsonl", part)
    choices = pa.struct([("text", texts), ("label", texts), ("para", texts)])
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("question", pa.struct([("stem", pa.string()), ("choices", choices)])),
            ("answerKey", pa.string()),
            (
                "info",
                pa.struct(
                    [("grade", pa.int64()), ("subject", pa.string()), ("language", pa.string())]
                ),
            ),
        ]
    )
    if hub:
        writer.parquet("multilingual/test-00000-of-00001.parquet", schema, hub)


def _exams_row(
    row: QuestionRow, number: int, language: str, rng: np.random.Generator
) -> dict[str, object]:
    count = 4
    if number % THREE_OPTIONS_EVERY.get(language, 30) == 1:
        count = 3
    elif number % 15 == 2:
        count = 5
    options = row.options(count, rng)
    key = LETTERS[options.index(row.right)]
    if number < BAD_KEYS.get(language, 0):
        key = "@"
    if number < REPEATED_OPTIONS.get(language, 0):
        wrong = [index for index, option in enumerate(options) if option != row.right]
        options[wrong[-1]] = options[wrong[0]]
    return {
        "id": content_id(f"exams {language} {number}"),
        "question": {
            "stem": row.question,
            "choices": [
                {"text": option, "label": label}
                for option, label in zip(options, LETTERS, strict=False)
            ],
        },
        "answerKey": key,
        "info": {
            "grade": 12,
            "subject": "Geography",
            "language": LANGUAGES[language].english_name,
        },
    }


def _as_on_hub(values: dict[str, object]) -> dict[str, object]:
    question = values["question"]
    assert isinstance(question, dict)
    choices = {
        "text": [choice["text"] for choice in question["choices"]],
        "label": [choice["label"] for choice in question["choices"]],
        "para": ["" for _ in question["choices"]],
    }
    return values | {"question": {"stem": question["stem"], "choices": choices}}


MULTIPLE_CHOICE_LAYOUTS: dict[
    str, Callable[[SourceWriter, Questions, np.random.Generator], None]
] = {
    "arc_challenge": arc_challenge,
    "swefaq": swefaq,
    "truthfulqa_cs": truthfulqa_cs,
    "include": include,
    "exams": exams,
}
