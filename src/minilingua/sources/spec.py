"""What a source is: its origin, licence, languages and native layout, read from ``specs/*.yaml``.

A new source is one YAML file there, plus a reader function when its rows have a shape that no
reader knows yet.
"""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import DataError, ParamsError, did_you_mean
from minilingua.core.languages import LANGUAGES
from minilingua.params import SourceName

Kind = Literal["instruction", "multiple_choice", "code"]
Text = Annotated[str, Field(min_length=1)]

SOURCE_NAMES: tuple[str, ...] = get_args(SourceName)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Layout(_Strict):
    """One form in which a source is published; a source may have several."""

    files: tuple[Text, ...] = Field(min_length=1)
    """Glob patterns below the source's directory. ``{code}`` stands for our language code,
    ``{language}`` for the source's own name; without them a file holds all languages."""
    columns: tuple[Text, ...] = Field(min_length=1)
    """Top-level columns that every row has to have."""
    optional_columns: tuple[Text, ...] = ()
    """Columns that may be there and are not read; any other column is an error."""

    def explain_columns(self) -> str:
        """Returns the columns in words, for messages."""
        optional = f" (may have {', '.join(self.optional_columns)})" * bool(self.optional_columns)
        return ", ".join(self.columns) + optional


class SourceSpec(_Strict):
    """One source."""

    title: Text
    hub: Text | None
    """Hugging Face data set id (``{language}`` as in ``Layout.files``), or None where the source
    is not on the hub."""
    origin: Text
    """Page that describes it."""
    licence: Text
    """SPDX expression, or words where none fits."""
    commercial_use: Literal[True, False, "unknown"]
    citation: Text
    kind: Kind
    reader: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """``module:function`` that turns one native row into a question or an exchange."""
    languages: dict[str, Text] = Field(min_length=1)
    """Our code ─► the source's own name (config, English name or ISO code)."""
    language_column: Text | None
    """Dotted path to the column that holds the source's language name in files of several
    languages; None where each file is of one language."""
    layouts: tuple[Layout, ...] = Field(min_length=1)

    @field_validator("languages")
    @classmethod
    def _languages_are_ours(cls, languages: dict[str, str]) -> dict[str, str]:
        for code in languages:
            if code not in LANGUAGES:
                raise ValueError(f"unknown language {code!r}; allowed: {', '.join(LANGUAGES)}")
        return languages

    @field_validator("layouts")
    @classmethod
    def _placeholders_are_known(cls, layouts: tuple[Layout, ...]) -> tuple[Layout, ...]:
        for layout in layouts:
            for pattern in layout.files:
                try:
                    pattern.format(code="", language="")
                except (KeyError, IndexError, ValueError) as error:
                    raise ValueError(f"{pattern!r}: only {{code}} and {{language}}") from error
        return layouts


def parse_spec(text: str, where: str) -> SourceSpec:
    """Validates the YAML text of a spec; messages begin with ``where``.

    Raises:
        DataError: not YAML, or a key is missing, unknown or of the wrong type.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise DataError(f"{where}: not YAML: {' '.join(str(error).split())}") from error
    try:
        return SourceSpec.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        nearest = ""
        if first["type"] == "extra_forbidden":
            nearest = did_you_mean(key, SourceSpec.model_fields)
        message = first["msg"].removeprefix("Value error, ")
        raise DataError(f"{where}: {key}: {message}{nearest}") from error


@cache
def load_spec(name: str) -> SourceSpec:
    """Returns the spec of a source.

    Raises:
        ParamsError: there is no such source.
        DataError: its spec is not valid.
    """
    if name not in SOURCE_NAMES:
        raise ParamsError(
            f"unknown source {name!r}; allowed: {', '.join(SOURCE_NAMES)}"
            f"{did_you_mean(name, SOURCE_NAMES)}"
        )
    resource = files("minilingua.sources") / "specs" / f"{name}.yaml"
    return parse_spec(resource.read_text(encoding="utf-8"), f"sources/specs/{name}.yaml")


def load_specs() -> Mapping[str, SourceSpec]:
    """Returns the specs of all sources, in their canonical order."""
    return {name: load_spec(name) for name in SOURCE_NAMES}
