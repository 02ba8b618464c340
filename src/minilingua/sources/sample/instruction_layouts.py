"""Instruction sources as they publish their data: files, columns and oddities."""

from collections.abc import Callable, Mapping, Sequence

from minilingua.core.languages import LANGUAGES
from minilingua.sources.sample.draw import PromptRow
from minilingua.sources.sample.writers import SourceWriter

Prompts = Mapping[str, Sequence[PromptRow]]
"""Rows by language."""

BUFFET_TASKS = {
    "en": "xwinograd",
    "pt": "xwinograd",
    "it": "xcopa",
    "fi": "tydiqa",
    "de": "amazon_reviews_multi",
    "es": "amazon_reviews_multi",
    "fr": "amazon_reviews_multi",
    "bg": "xnli",
    "el": "xnli",
}
"""A folder of BUFFET that has the language. Its layout is meant; the content is ours."""
POLYGLOT_TASKS = {
    "en": "mlqa",
    "de": "xquad",
    "es": "xquad",
    "el": "xquad",
    "fi": "tydiqa",
    "fr": "xnli",
    "bg": "xnli",
    "it": "mldoc",
}
"""A folder of PolyglotPrompt that has the language."""
DOLLY_EVERY = 5
"""One Bactrian-X row in so many comes from Dolly, the others from Alpaca."""
EMPTY_OUTPUTS = 1
"""Bactrian-X rows a language whose output is missing."""
SHARED_PROMPTS = 2
"""Alpaca rows a language that repeat rows of Bactrian-X, which took its prompts from there."""


def buffet(writer: SourceWriter, prompts: Prompts) -> None:
    """Writes few-shot files: eight shots by name, three seeds, train and dev, no header."""
    for language, rows in prompts.items():
        task = BUFFET_TASKS[language]
        names = [
            f"{task}_8_{shots}_{split}" for shots in (13, 21, 100) for split in ("train", "dev")
        ]
        for index, name in enumerate(names):
            part = rows[index :: len(names)]
            writer.tab_separated(
                f"{task}/{language}/{name}.tsv",
                [({"input": row.prompt, "output": row.answer}, row.fact) for row in part],
            )


def polyglot_prompt(writer: SourceWriter, prompts: Prompts) -> None:
    """Writes JSON arrays, one in ten rows for validation."""
    for language, rows in prompts.items():
        task = POLYGLOT_TASKS[language]
        held = len(rows) // 10
        for split, part in (("train", rows[held:]), ("validation", rows[:held])):
            writer.json_array(
                f"{task}/{split}-{language}.json",
                [
                    (
                        {
                            "input": row.prompt,
                            "target": row.answer,
                            "answers": [row.answer],
                            "samp_id": f"{split}-{number}",
                        },
                        row.fact,
                    )
                    for number, row in enumerate(part)
                ],
            )


def bactrian_x(writer: SourceWriter, prompts: Prompts) -> None:
    """Writes gzipped JSON lines; some outputs are empty."""
    for language, rows in prompts.items():
        empty = range(len(rows) // 2, len(rows) // 2 + EMPTY_OUTPUTS)
        writer.json_lines(
            f"data/{language}.json.gz",
            [
                (
                    {
                        "instruction": row.instruction,
                        "input": row.given,
                        "id": f"{'alpaca' if number % DOLLY_EVERY else 'dolly'}-{number}",
                        "output": "" if number in empty else row.answer,
                    },
                    row.fact,
                )
                for number, row in enumerate(rows)
            ],
        )


def aya(writer: SourceWriter, prompts: Prompts) -> None:
    """Writes all languages into one parquet file, their rows mixed."""
    import pyarrow as pa

    text = pa.string()
    columns = ("inputs", "targets", "language", "language_code", "annotation_type", "user_id")
    mixed = sorted(
        (
            (number / len(rows), language, row)
            for language, rows in prompts.items()
            for number, row in enumerate(rows)
        ),
        key=lambda entry: entry[:2],
    )
    writer.parquet(
        "data/train-00000-of-00001.parquet",
        pa.schema([(name, text) for name in columns]),
        [
            (
                {
                    "inputs": row.prompt,
                    "targets": row.answer,
                    "language": LANGUAGES[language].english_name,
                    "language_code": LANGUAGES[language].iso639_3,
                    "annotation_type": "original-annotations" if number % 3 else "re-annotations",
                    "user_id": f"annotator-{language}",
                },
                row.fact,
            )
            for number, (_, language, row) in enumerate(mixed)
        ],
    )


def alpaca(writer: SourceWriter, prompts: Prompts) -> None:
    """Writes one JSON array a language."""
    for language, rows in prompts.items():
        writer.json_array(
            f"{language}/alpaca_cleaned_{language}.json",
            [
                (
                    {"instruction": row.instruction, "input": row.given, "output": row.answer},
                    row.fact,
                )
                for row in rows
            ],
        )


def self_oss_instruct(writer: SourceWriter, prompts: Prompts) -> None:
    """Writes one parquet file of Python tasks."""
    import pyarrow as pa

    schema = pa.schema(
        [("instruction", pa.string()), ("response", pa.string()), ("id", pa.int64())]
    )
    writer.parquet(
        "data/train-00000-of-00001.parquet",
        schema,
        [
            (
                {"instruction": row.instruction, "response": row.answer, "id": number},
                row.fact,
            )
            for number, row in enumerate(prompts["code"])
        ],
    )


INSTRUCTION_LAYOUTS: dict[str, Callable[[SourceWriter, Prompts], None]] = {
    "buffet": buffet,
    "polyglot_prompt": polyglot_prompt,
    "bactrian_x": bactrian_x,
    "aya": aya,
    "alpaca": alpaca,
    "self_oss_instruct": self_oss_instruct,
}
