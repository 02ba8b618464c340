"""How each kind of fact is asked in each language: ``wordings/<language>.yaml``."""

from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, TypeAdapter
from ruamel.yaml import YAML

from minilingua.sources.sample.facts import Statement

TASK = 3
"""Index of the wording that is a task with an input; before it stand the questions."""


class Wording(BaseModel):
    """The ways to ask for one kind of fact."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    questions: tuple[str, str, str]
    """Questions with ``{x}`` for what is asked about and ``{y}`` for a target language."""
    task: str
    """A task without ``{x}``, which is given beside it; ends with a full stop."""


@cache
def load_wordings(language: str) -> dict[str, Wording]:
    """Returns the wordings of a language by kind of fact."""
    raw = dict(_read(language))
    del raw["echo"]
    return TypeAdapter(dict[str, Wording]).validate_python(raw, strict=False)


def echo_task(language: str) -> str:
    """Returns the task to repeat a text."""
    return str(_read(language)["echo"])


def ask(kind: str, wording: int, language: str, statement: Statement) -> str:
    """Returns a question about a statement, or the task that goes with it as its input."""
    words = load_wordings(language)[kind]
    template = words.task if wording == TASK else words.questions[wording]
    return template.format(x=statement.subject, y=statement.target)


@cache
def _read(language: str) -> dict[str, object]:
    resource = files("minilingua.sources.sample") / "wordings" / f"{language}.yaml"
    raw: dict[str, object] = YAML(typ="safe", pure=True).load(resource.read_text(encoding="utf-8"))
    return raw
