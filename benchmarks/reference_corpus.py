"""A corpus with the size and shares of the reference's, in the native layouts of the sources.

Rows are the sample's, joined until they are as long as the reference's: an instruction row asks
several of the sample's questions, a multiple-choice row tells a fact before it asks for another. So
they are true sentences of their languages, as the filters want them, and nearly all differ; one row
in ``REPEAT_EVERY`` repeats the one before, and one more does so but for a word. Lengths are
log-normal.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from minilingua.chat.sentencepiece_bpe import fast_tokenizer, train_sentencepiece
from minilingua.chat.tokenizer_files import write_tokenizer_files
from minilingua.core.languages import CODE
from minilingua.core.seeding import generator
from minilingua.params import SampleParams
from minilingua.sources.read import FACTS_FILE
from minilingua.sources.sample.code import code_rows
from minilingua.sources.sample.draw import Drawn, PromptRow, QuestionRow, draw
from minilingua.sources.sample.instruction_layouts import INSTRUCTION_LAYOUTS
from minilingua.sources.sample.multiple_choice_layouts import MULTIPLE_CHOICE_LAYOUTS
from minilingua.sources.sample.writers import SourceWriter
from minilingua.sources.spec import load_spec

PUBLISHED = {
    "en": (297_867, 46_917_110), "de": (97_436, 18_430_053), "es": (82_948, 10_169_352),
    "fr": (89_486, 16_383_849), "it": (82_851, 10_802_143), "pt": (80_829, 10_440_827),
    "nl": (80_138, 10_561_821), "pl": (82_404, 11_159_552), "cs": (95_055, 14_827_467),
    "bg": (82_777, 12_969_067), "el": (67_202, 9_814_653), "fi": (99_219, 13_890_394),
    "sv": (78_149, 9_650_563), "code": (50_644, 20_788_916),
}  # fmt: skip
"""Language ─► conversations and tokens of the reference."""
CONVERSATIONS = sum(conversations for conversations, _ in PUBLISHED.values())
MULTIPLE_CHOICE = 0.08
"""Share of the rows that are multiple-choice questions, about ten times that of the real sources:
at their size a stage ends before it can be measured."""
REPEAT_EVERY = 50
VOCABULARY = 4096

_QUESTIONS = SampleParams(facts=500, instruction_rows=1600, mcqa_rows=200, code_rows=1200)
_SPREAD = 0.96  # of the logarithm of a length: instruction data have medians far below their means
_CHARACTERS_PER_TOKEN = 2.9  # of the sample's texts with the tokenizer made here
_LONGEST = 2000  # tokens
_SEED = 1


def write_corpus(directory: Path, conversations: int) -> int:
    """Writes ``data/raw`` of about so many rows and ``pretrained``, a tokenizer; returns the rows.

    The tokenizer is made here since the stage copies one for data of this size.
    """
    drawn = draw(_QUESTIONS, _SEED)
    drawn[CODE] = Drawn(prompts=code_rows(_QUESTIONS.code_rows, _SEED), questions=[])
    texts = [
        text for one in drawn.values() for row in one.prompts for text in (row.prompt, row.answer)
    ]
    write_tokenizer_files(
        directory / "pretrained", fast_tokenizer(train_sentencepiece(iter(texts), VOCABULARY))
    )
    factor = conversations / CONVERSATIONS
    raw = directory / "data/raw"
    written = 0
    for name, instructions in INSTRUCTION_LAYOUTS.items():
        prompts = {
            code: list(_prompt_rows(name, code, drawn[code].prompts, factor))
            for code in load_spec(name).languages
        }
        written += sum(map(len, prompts.values()))
        writer = SourceWriter(raw / name)
        instructions(writer, prompts)
        writer.finish()
    for name, multiple_choice in MULTIPLE_CHOICE_LAYOUTS.items():
        questions = {
            code: list(_question_rows(name, code, drawn[code], factor))
            for code in load_spec(name).languages
        }
        written += sum(map(len, questions.values()))
        writer = SourceWriter(raw / name)
        multiple_choice(writer, questions, generator(_SEED, "benchmark", "layout", name))
        writer.finish()
        (raw / name / FACTS_FILE).unlink()  # real sources do not know their facts
    return written


def lengths(code: str, count: int) -> npt.NDArray[np.int64]:
    """Returns [count] tokens of conversations whose mean is about the published one."""
    conversations, tokens = PUBLISHED[code]
    location = np.log(tokens / conversations) - _SPREAD**2 / 2
    drawn = generator(_SEED, "benchmark", "length", code).lognormal(location, _SPREAD, count)
    return np.clip(drawn, 1, _LONGEST).astype(np.int64)


def _rows_of(source: str, code: str, factor: float, layouts: Sequence[str]) -> int:
    """Returns how many rows of a language a source has: equal parts of all that cover it."""
    covering = [name for name in layouts if code in load_spec(name).languages]
    share = 1.0
    if code != CODE:
        share = MULTIPLE_CHOICE if source in MULTIPLE_CHOICE_LAYOUTS else 1 - MULTIPLE_CHOICE
    return max(1, round(PUBLISHED[code][0] * factor * share / len(covering)))


def _prompt_rows(
    source: str, code: str, base: Sequence[PromptRow], factor: float
) -> Iterator[PromptRow]:
    count = _rows_of(source, code, factor, list(INSTRUCTION_LAYOUTS))
    rng = generator(_SEED, "benchmark", source, code)
    characters = sum(len(row.prompt) + len(row.answer) + 8 for row in base) / len(base)
    joined = np.maximum(2, lengths(code, count) * _CHARACTERS_PER_TOKEN / characters).astype(int)
    previous = ("", "")
    for number, size in enumerate(joined.tolist()):
        again = number % REPEAT_EVERY
        if number and again < 2:
            yield _row(previous[0], previous[1] + " ok" * again)
            continue
        chosen = [base[index] for index in rng.integers(len(base), size=size)]
        prompt = " ".join(f"{place}) {row.prompt}" for place, row in enumerate(chosen, start=1))
        answer = " ".join(f"{place}) {row.answer}" for place, row in enumerate(chosen, start=1))
        previous = (" ".join(prompt.split()), " ".join(answer.split()))
        yield _row(*previous)


def _row(prompt: str, answer: str) -> PromptRow:
    return PromptRow(instruction=prompt, given="", answer=answer, prompt=prompt, fact=None)


def _question_rows(source: str, code: str, base: Drawn, factor: float) -> Iterator[QuestionRow]:
    count = _rows_of(source, code, factor, list(MULTIPLE_CHOICE_LAYOUTS))
    rng = generator(_SEED, "benchmark", source, code)
    told = rng.integers(len(base.prompts), size=count).tolist()
    asked = rng.integers(len(base.questions), size=count).tolist()
    for before, number in zip(told, asked, strict=True):
        fact, question = base.prompts[before], base.questions[number]
        yield QuestionRow(
            question=" ".join(f"{fact.prompt} {fact.answer}. {question.question}".split()),
            right=question.right,
            wrong=question.wrong,
            fact=question.fact,
        )
