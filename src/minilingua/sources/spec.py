"""What a source is: its origin, licence, languages and native layout, read from ``specs/*.yaml``.

A new source is one YAML file there, plus a reader function when its rows have a shape that no
reader knows yet. The names of the files are the names that ``sources.include`` may hold.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated, Literal

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import DataError, ParamsError, did_you_mean
from minilingua.core.languages import LANGUAGES

Kind = Literal["instruction", "multiple_choice", "code"]
Text = Annotated[str, Field(min_length=1)]

NO_LICENCE = "NOASSERTION"
"""SPDX's word for: its authors state no licence."""

DATA_SUFFIXES = (".parquet", ".json", ".jsonl", ".tsv", ".json.gz", ".jsonl.gz", ".tsv.gz")
"""What is read, and so all that is ever downloaded: data, never a loading script."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Layout(_Strict):
    """One form in which a source is published; a source may have several."""

    files: tuple[Text, ...] = Field(min_length=1)
    """Glob patterns below the source's directory. ``{code}`` stands for our language code,
    ``{language}`` for the source's own name, ``{english}`` for the English name in lower case;
    without them a file holds all languages."""
    columns: tuple[Text, ...] = Field(min_length=1)
    """Top-level columns that every row has to have."""
    optional_columns: tuple[Text, ...] = ()
    """Columns that may be there and are not read; any other column is an error."""

    def explain_columns(self) -> str:
        """Returns the columns in words, for messages."""
        optional = f" (may have {', '.join(self.optional_columns)})" * bool(self.optional_columns)
        return ", ".join(self.columns) + optional


class Repository(_Strict):
    """A data set of the Hugging Face hub that a source, or a part of it, is published in."""

    id: Text
    """``{language}`` as in ``Layout.files``: then there is a data set for each language."""
    ref: Text = "main"
    """Branch that is followed when the source is pinned. The hub's own conversion of what is
    published with a loading script is on ``refs/convert/parquet``."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    """Commit that is pinned instead; None: the one that ``ref`` stands for at that time."""
    into: str = ""
    """Folder below the source's directory for its files; ``{language}`` as in ``id``."""
    languages: tuple[Text, ...] | None = None
    """Our codes of the languages that it holds; None: all of the source's."""

    @property
    def version(self) -> str:
        """What the hub is asked for."""
        return self.revision or self.ref


class Evaluation(_Strict):
    """What of a source was published to evaluate models and should not be trained on."""

    reason: Text
    canary: bool = False
    """Its authors ask in the data itself that it never be trained on."""
    files: tuple[Text, ...] | None = None
    """Glob patterns below the source's directory; None: all of the source."""
    languages: tuple[Text, ...] = ()
    """Our codes of languages that have no other files."""


class SourceSpec(_Strict):
    """One source."""

    title: Text
    origin: Text
    """Page that describes it."""
    repositories: tuple[Repository, ...]
    """Empty where the source is not on the hub."""
    obtain: Text | None = None
    """How to get it where it is not on the hub."""
    gated: bool = False
    """The hub asks for a token, and its owner's consent to terms."""
    licence: Text
    """SPDX expression, or ``NOASSERTION`` where none is stated."""
    licence_note: Text | None = None
    commercial_use: Literal[True, False, "unknown"]
    evaluation: Evaluation | None = None
    citation: Text
    rows: Text | None
    """Rows as published, in words; None where that is not known."""
    kind: Kind
    reader: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """``module:function`` that turns one native row into a question or an exchange."""
    languages: dict[str, Text] = Field(min_length=1)
    """Our code ─► the source's own name (config, English name or ISO code)."""
    language_column: Text | None
    """Dotted path to the column that holds the source's language name in files of several
    languages; None where each file is of one language."""
    in_sample: bool = False
    """The generated sample has it."""
    layouts: tuple[Layout, ...] = Field(min_length=1)

    @field_validator("licence")
    @classmethod
    def _licence_is_spdx(cls, licence: str) -> str:
        if licence == NO_LICENCE:
            return licence
        try:
            canonical = str(canonicalize_license_expression(licence))
        except InvalidLicenseExpression as error:
            raise ValueError(f"{licence!r} is no SPDX expression") from error
        if canonical != licence:
            raise ValueError(f"{licence!r} is written {canonical!r} in SPDX")
        return licence

    @field_validator("languages")
    @classmethod
    def _languages_are_ours(cls, languages: dict[str, str]) -> dict[str, str]:
        for code in languages:
            if code not in LANGUAGES:
                raise ValueError(f"unknown language {code!r}; allowed: {', '.join(LANGUAGES)}")
        return languages

    @field_validator("layouts")
    @classmethod
    def _patterns_are_usable(cls, layouts: tuple[Layout, ...]) -> tuple[Layout, ...]:
        for pattern in (pattern for layout in layouts for pattern in layout.files):
            try:
                pattern.format(code="", language="", english="")
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    f"{pattern!r}: only {{code}}, {{language}} and {{english}}"
                ) from error
            if not pattern.endswith(DATA_SUFFIXES):
                raise ValueError(
                    f"{pattern!r}: only data files are read: {', '.join(DATA_SUFFIXES)}"
                )
            if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
                raise ValueError(f"{pattern!r} leaves the directory of the source")
        return layouts

    @model_validator(mode="after")
    def _parts_agree(self) -> "SourceSpec":
        named = [code for each in self.repositories for code in each.languages or ()]
        named += self.evaluation.languages if self.evaluation else ()
        for code in named:
            if code not in self.languages:
                raise ValueError(f"{code!r} is named in a part, but not in languages")
        if (self.obtain is None) != bool(self.repositories):
            raise ValueError("obtain says how to get what has no repositories, and only that")
        return self

    @property
    def is_evaluation_only(self) -> bool:
        """All of it is for evaluation."""
        return self.evaluation is not None and self.evaluation.files is None

    def is_evaluation_file(self, relative: str) -> bool:
        """Returns whether a file (POSIX path below the source's directory) is for evaluation."""
        if self.evaluation is None:
            return False
        if self.evaluation.files is None:
            return True
        return any(matches(relative, pattern) for pattern in self.evaluation.files)

    def hub_repositories(self, languages: Iterable[str]) -> dict[str, Repository]:
        """Returns the data sets of the hub that hold the given languages, by id."""
        found: dict[str, Repository] = {}
        for repository in self.repositories:
            held = self.languages if repository.languages is None else repository.languages
            for code in languages:
                if code not in held or code not in self.languages:
                    continue
                name = self.languages[code]
                each = repository.model_copy(
                    update={
                        "id": repository.id.format(language=name),
                        "into": repository.into.format(language=name),
                    }
                )
                found.setdefault(each.id, each)
        return found


def matches(relative: str, pattern: str) -> bool:
    """Returns what ``Path.glob(pattern)`` would say of a file that need not be on a disk."""
    path, glob = PurePosixPath(relative), PurePosixPath(pattern)
    return len(path.parts) == len(glob.parts) and path.match(pattern)


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
        # What YAML takes for a date was meant as text.
        return SourceSpec.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        nearest = ""
        if first["type"] == "extra_forbidden":
            nearest = did_you_mean(key, SourceSpec.model_fields)
        message = first["msg"].removeprefix("Value error, ")
        raise DataError(f"{where}: {key}: {message}{nearest}") from error


def source_names() -> tuple[str, ...]:
    """Returns the names of all sources, those of the files in ``specs``, sorted."""
    folder = files("minilingua.sources") / "specs"
    return tuple(
        sorted(
            entry.name.removesuffix(".yaml")
            for entry in folder.iterdir()
            if entry.name.endswith(".yaml")
        )
    )


@cache
def load_spec(name: str) -> SourceSpec:
    """Returns the spec of a source.

    Raises:
        ParamsError: there is no such source.
        DataError: its spec is not valid.
    """
    if name not in source_names():
        raise ParamsError(
            f"unknown source {name!r}; allowed: {', '.join(source_names())}"
            f"{did_you_mean(name, source_names())}"
        )
    resource = files("minilingua.sources") / "specs" / f"{name}.yaml"
    return parse_spec(resource.read_text(encoding="utf-8"), f"sources/specs/{name}.yaml")


def load_specs() -> Mapping[str, SourceSpec]:
    """Returns the specs of all sources, by name."""
    return {name: load_spec(name) for name in source_names()}
