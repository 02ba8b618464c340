"""A question in words: its example in each answer format, as lines of JSON.

How options are listed follows the answer: ``A. ..`` for letters, ``1. ..`` for numbers, ``- ..``
for full text, where a label would offer a second way to answer. Letters are Latin in every
language, as in EXAMS (Bulgarian included) and INCLUDE.

The lines are the canonical JSON (``core/files.py``) of ``InstructionExample``, put together from
texts that are escaped once for all formats: escaping goes character by character. That is many
times as fast as building and dumping records; a test compares the two.
"""

import json
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from json.encoder import encode_basestring
from typing import NewType

from minilingua.core.records import ANSWER_FORMATS, AnswerFormat
from minilingua.core.seeding import derive_integer
from minilingua.mcqa.build import Question
from minilingua.mcqa.templates import Template, load_templates

Templates = Mapping[str, Mapping[AnswerFormat, tuple[Template, ...]]]
"""Language of the instruction ─► answer format ─► wordings, escaped for JSON."""

EscapedQuestion = NewType("EscapedQuestion", Question)
"""A question of which row, fact, text and options are escaped for JSON."""

LABELS: dict[AnswerFormat, tuple[str, ...]] = {
    "letter": tuple(string.ascii_uppercase),
    "number": tuple(str(number) for number in range(1, len(string.ascii_uppercase) + 1)),
}
"""What answers an option, where that is not its text."""


def escaped_templates(languages: Iterable[str]) -> Templates:
    """Loads the templates of some languages, ready to be filled with escaped texts."""
    return {
        language: {
            name: tuple(template.map(escaped) for template in wordings)
            for name, wordings in load_templates(language).items()
        }
        for language in languages
    }


def escaped(text: str) -> str:
    """Returns text as it stands between the quotes of a JSON string, in plain UTF-8."""
    return encode_basestring(text)[1:-1]


def escaped_question(question: Question) -> EscapedQuestion:
    """Returns a question as ``render`` takes it."""
    return EscapedQuestion(_each_text(question, escaped))


def unescaped_question(question: EscapedQuestion) -> Question:
    """Returns the question that ``escaped_question`` was given."""
    return _each_text(question, lambda text: str(json.loads(f'"{text}"')))


def _each_text(question: Question, change: Callable[[str], str]) -> Question:
    return Question(
        source=question.source,
        row=change(question.row),
        language=question.language,
        fact=None if question.fact is None else change(question.fact),
        key=question.key,
        text=change(question.text),
        options=tuple([change(option) for option in question.options]),
        answer=question.answer,
    )


def render(
    question: EscapedQuestion, instruction_language: str, templates: Templates, seed: int
) -> dict[AnswerFormat, str]:
    """Asks a question in every answer format, with instructions in the given language.

    All formats show the same options in the same order; the wording of each is drawn from the seed
    and the question's key.

    Returns:
        Answer format ─► one line of JSON, without a line break.
    """
    text, options = question.text, question.options
    fact = "null" if question.fact is None else f'"{question.fact}"'
    listed = _strings(options)
    randomness = derive_integer(seed, "mcqa", "template", instruction_language, question.key)
    lines: dict[AnswerFormat, str] = {}
    for name in ANSWER_FORMATS:
        wordings = templates[instruction_language][name]
        randomness, place = divmod(randomness, len(wordings))
        candidates = options if name == "text" else LABELS[name][: len(options)]
        prompt = wordings[place].fill(text, _list(name, options))
        lines[name] = (
            f'{{"choice":{{"answer":{question.answer},"answer_format":"{name}"'
            f',"candidates":{_strings(candidates)}'
            f',"instruction_language":"{instruction_language}"'
            f',"options":{listed},"question":"{text}"}}'
            f',"fact":{fact},"key":"{question.key}","language":"{question.language}"'
            f',"messages":[{{"content":"{prompt}","role":"user"}}'
            f',{{"content":"{candidates[question.answer]}","role":"assistant"}}]'
            f',"row":"{question.row}","source":"{question.source}","task":"mcqa"}}'
        )
    return lines


def _strings(texts: Sequence[str]) -> str:
    """Returns a JSON array of escaped texts."""
    return '["' + '","'.join(texts) + '"]'


def _list(answer_format: AnswerFormat, options: Sequence[str]) -> str:
    """Returns the options as the prompt shows them, escaped: one a line, after their labels."""
    if answer_format == "text":
        return "- " + "\\n- ".join(options)
    labels = LABELS[answer_format]
    return "\\n".join([f"{label}. {text}" for label, text in zip(labels, options, strict=False)])
