"""Rows for the tests of curation."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minilingua.core.manifest import Manifest
from minilingua.core.records import Choice, InstructionExample, Message, Role, Task
from minilingua.core.seeding import content_id
from minilingua.curation.prepare import PrepareTask, Settings, prepare
from minilingua.curation.rows import Spool
from minilingua.curation.splits import SplitRule

RULE = SplitRule(validation=0.1, test=0.1, unseen_facts=0.2, minimum_test_mcqa=0)
SETTINGS = Settings(
    max_characters=4000, filters=(), rule=RULE, sources=("aya", "exams", "alpaca", "bactrian_x")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """An input that holds its rows."""

    examples: tuple[InstructionExample, ...]

    @property
    def size(self) -> int:
        return len(self.examples)

    def read(self, manifest: Manifest) -> Iterator[InstructionExample]:
        del manifest
        yield from self.examples


def spooled(
    directory: Path, examples: list[InstructionExample], language: str = "en", task: int = 0
) -> Spool:
    """Returns rows of one language as the second pass sees them."""
    directory.mkdir(exist_ok=True, parents=True)
    given = Given(examples=tuple(examples))
    prepare(PrepareTask(number=task, rows=given, spool=directory, settings=SETTINGS))
    return Spool.open(directory, language)


def example(
    prompt: str = "Name a colour.",
    answer: str = "Blue.",
    *,
    language: str = "en",
    source: str = "aya",
    task: Task = "instruction",
    fact: str | None = None,
    key: str | None = None,
    turns: tuple[tuple[Role, str], ...] | None = None,
) -> InstructionExample:
    """Returns a row; ``turns`` replaces prompt and answer."""
    spoken = turns if turns is not None else (("user", prompt), ("assistant", answer))
    return InstructionExample(
        source=source,
        row=f"{source}/{language}:{content_id(prompt)}",
        language=language,
        task=task,
        messages=tuple(Message(role=role, content=content) for role, content in spoken),
        key=content_id(language + prompt) if key is None else key,
        fact=fact,
    )


def question(
    text: str,
    options: tuple[str, ...] = ("ja", "nein"),
    *,
    language: str = "de",
    instruction: str = "Answer with the right option.",
    fact: str | None = None,
    source: str = "exams",
) -> InstructionExample:
    """Returns a multiple-choice row whose first option is correct, with an English instruction."""
    return InstructionExample(
        source=source,
        row=f"{source}/{language}:{content_id(text)}",
        language=language,
        task="mcqa",
        messages=(
            Message(role="user", content="\n".join([instruction, text, *options])),
            Message(role="assistant", content=options[0]),
        ),
        key=content_id(language + text + options[0]),
        choice=Choice(
            question=text,
            options=options,
            candidates=options,
            answer=0,
            answer_format="text",
            instruction_language="en",
        ),
        fact=fact,
    )
