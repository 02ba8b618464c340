"""How each kind of fact is asked in each language: ``wordings/<language>.yaml``."""

from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict
from ruamel.yaml import YAML

from minilingua.sources.sample.facts import Statement

TASK = 3
"""Index of the wording that is a task with an input; before it stand the questions."""


class Wording(BaseModel):
    """The ways to ask for one kind of fact."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    questions: tuple[str, str, str]
    """Questions with ``{x}`` for what is asked about and ``{y}`` for a target language."""
    task: str
    """A task without ``{x}``, which is given beside it; ends with a full stop."""


class LanguageWordings(BaseModel):
    """All that is said in one language."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kinds: dict[str, Wording]
    """By kind of fact."""
    echo: str
    """Task to repeat a text."""
    colon: str
    """What stands between a task and its input on one line."""


@cache
def load_wordings(language: str) -> LanguageWordings:
    """Returns the wordings of a language."""
    resource = files("minilingua.sources.sample") / "wordings" / f"{language}.yaml"
    raw = YAML(typ="safe", pure=True).load(resource.read_text(encoding="utf-8"))
    return LanguageWordings.model_validate(raw)


def ask(kind: str, wording: int, language: str, statement: Statement) -> str:
    """Returns a question about a statement, or the task that goes with it as its input."""
    words = load_wordings(language).kinds[kind]
    template = words.task if wording == TASK else words.questions[wording]
    return template.format(x=statement.subject, y=statement.target)
