"""Instruction templates: data files ``templates/<language>.yaml``, checked when they are loaded.

A file lists templates under the answer format that they ask for. ``{question}`` and ``{options}``
stand in each exactly once, in this order, ``{options}`` alone on its line. Filling one in replaces
only these two: braces, percent signs or backslashes of a question are text like any other.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import DataError, MissingInputError, did_you_mean
from minilingua.core.records import ANSWER_FORMATS, AnswerFormat

_PLACEHOLDERS = ("question", "options")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One checked wording of an instruction."""

    language: str
    answer_format: AnswerFormat
    before: str
    between: str
    """Between question and options."""
    after: str

    def fill(self, question: str, options: str) -> str:
        """Returns the prompt: the two texts put into the template, nothing else interpreted."""
        return f"{self.before}{question}{self.between}{options}{self.after}"

    def map(self, change: Callable[[str], str]) -> "Template":
        """Returns the template with its own text changed."""
        return replace(
            self,
            before=change(self.before),
            between=change(self.between),
            after=change(self.after),
        )


def load_templates(language: str) -> dict[AnswerFormat, tuple[Template, ...]]:
    """Reads the templates that this package ships for a language.

    Raises:
        MissingInputError: it ships none for the language.
        DataError: the file breaks a rule of ``parse_templates``.
    """
    name = f"{language}.yaml"
    source = files("minilingua.mcqa") / "templates" / name
    if not source.is_file():
        raise MissingInputError(f"mcqa/templates/{name} is missing: no templates for {language!r}")
    return parse_templates(source.read_text(encoding="utf-8"), language, f"mcqa/templates/{name}")


def parse_templates(
    text: str, language: str, where: str
) -> dict[AnswerFormat, tuple[Template, ...]]:
    """Checks the text of a template file; messages begin with ``where``.

    Raises:
        DataError: not YAML; an answer format is unknown, missing or empty; a template is not
            text, is listed twice, has an unknown placeholder or a stray brace, has not each
            placeholder exactly once and in order, or ``{options}`` shares its line with other text.
    """
    try:
        listed = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise DataError(f"{where}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(listed, dict):
        raise DataError(f"{where}: expected lists under {', '.join(ANSWER_FORMATS)}")
    for name in listed:
        if name not in ANSWER_FORMATS:
            raise DataError(
                f"{where}: unknown answer format {name!r}; allowed: {', '.join(ANSWER_FORMATS)}"
                f"{did_you_mean(str(name), ANSWER_FORMATS)}"
            )
    return {name: _parse_list(listed, name, language, where) for name in ANSWER_FORMATS}


def _parse_list(
    listed: Mapping[str, Any], answer_format: AnswerFormat, language: str, where: str
) -> tuple[Template, ...]:
    texts = listed.get(answer_format)
    if not isinstance(texts, list) or not texts:
        raise DataError(f"{where}: {answer_format}: expected a list of templates, found {texts!r}")
    for number, text in enumerate(texts, start=1):
        here = f"{where}: {answer_format}: template {number}"
        if not isinstance(text, str):
            raise DataError(f"{here}: expected text, found {text!r}")
        if text in texts[: number - 1]:
            raise DataError(f"{here}: listed twice: {text!r}")
        _check_placeholders(text, here)
    return tuple(_template(text, answer_format, language) for text in texts)


def _template(text: str, answer_format: AnswerFormat, language: str) -> Template:
    before, between, after = _PLACEHOLDER.split(text)[::2]  # the names stand between
    return Template(
        language=language,
        answer_format=answer_format,
        before=before,
        between=between,
        after=after,
    )


def _check_placeholders(text: str, here: str) -> None:
    found = _PLACEHOLDER.findall(text)
    for name in found:
        if name not in _PLACEHOLDERS:
            raise DataError(
                f"{here}: unknown placeholder {{{name}}}; allowed: {{question}}, {{options}}"
                f"{did_you_mean(name, _PLACEHOLDERS)}"
            )
    for name in _PLACEHOLDERS:
        if found.count(name) != 1:
            raise DataError(f"{here}: {{{name}}} stands {found.count(name)} times instead of once")
    rest = _PLACEHOLDER.sub("", text)
    if "{" in rest or "}" in rest:
        raise DataError(f"{here}: a brace outside the placeholders")
    if found != list(_PLACEHOLDERS):
        raise DataError(f"{here}: {{options}} has to stand after {{question}}")
    if "{options}" not in text.split("\n"):
        raise DataError(f"{here}: {{options}} has to stand alone on its line")
