"""Rows for the tests of curation."""

from minilingua.core.records import Choice, InstructionExample, Message, Role, Task
from minilingua.core.seeding import content_id


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
