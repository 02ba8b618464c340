"""Short Python tasks with responses that parse and do what the task says."""

from collections.abc import Sequence

from minilingua.core.seeding import generator
from minilingua.sources.sample.draw import PromptRow, shuffled

# {n} is a number from 2 upwards, {s} a separator, {w} a word.
_TASKS: Sequence[tuple[str, str]] = (
    (
        "Write a Python function add_{n} that adds {n} to a number.",
        "def add_{n}(x):\n    return x + {n}",
    ),
    (
        "Write a Python function times_{n} that multiplies a number by {n}.",
        "def times_{n}(x):\n    return x * {n}",
    ),
    (
        "Write a Python function that tells whether a number is divisible by {n}.",
        "def is_divisible_by_{n}(x):\n    return x % {n} == 0",
    ),
    (
        "Write a Python function that raises a number to the power {n}.",
        "def power_{n}(x):\n    return x ** {n}",
    ),
    (
        "Write a Python function that returns the first {n} items of a list.",
        "def first_{n}(items):\n    return items[:{n}]",
    ),
    (
        "Write a Python function that returns the last {n} items of a list.",
        "def last_{n}(items):\n    return items[-{n}:]",
    ),
    (
        "Write a Python function that returns every item of a list whose length is {n}.",
        "def of_length_{n}(items):\n    return [item for item in items if len(item) == {n}]",
    ),
    (
        "Write a Python function that returns the multiples of {n} below a limit.",
        "def multiples_of_{n}(limit):\n    return list(range(0, limit, {n}))",
    ),
    (
        "Write a Python function that repeats a text {n} times.",
        "def repeat_{n}(text):\n    return text * {n}",
    ),
    (
        "Write a Python function that joins texts with {s!r}.",
        "def join(texts):\n    return {s!r}.join(texts)",
    ),
    (
        "Write a Python function that splits a text at each {s!r}.",
        "def split(text):\n    return text.split({s!r})",
    ),
    (
        "Write a Python function that counts how often the word {w!r} is in a list.",
        "def count_{w}(words):\n    return words.count({w!r})",
    ),
    (
        "Write a Python function that tells whether a text starts with {w!r}.",
        "def starts_with_{w}(text):\n    return text.startswith({w!r})",
    ),
    (
        "Write a Python function that looks up {w!r} in a dictionary, with {n} as default.",
        "def get_{w}(values):\n    return values.get({w!r}, {n})",
    ),
)
_SEPARATORS = (",", ";", "|", "-", "/", ":", " ", "_", "+", ".", ", ", " - ")
_WORDS = ("red", "blue", "north", "south", "apple", "river", "stone", "winter", "paper", "green",
          "music", "train")  # fmt: skip


def code_rows(count: int, seed: int) -> list[PromptRow]:
    """Returns ``count`` distinct tasks with their responses, in random order."""
    rows: dict[str, PromptRow] = {}
    number = 2
    while len(rows) < count:
        for task, response in _TASKS:
            names = {
                "n": number,
                "s": _SEPARATORS[number % len(_SEPARATORS)],
                "w": _WORDS[number % len(_WORDS)],
            }
            instruction = task.format(**names)
            row = PromptRow(
                instruction=instruction,
                given="",
                prompt=instruction,
                answer=response.format(**names),
                fact=None,
            )
            rows.setdefault(row.instruction, row)
        number += 1
    return shuffled(list(rows.values())[:count], generator(seed, "sample", "code"))
