"""Raw data as records: what the MCQA and curation stages read, one function for each kind.

    data/raw/<source>/ ─► native rows ─► reader of the spec ─┬► MultipleChoiceItem
                                                             └► InstructionExample

A row that is of no use is dropped under a reason in the manifest, with an explanation in its sample
of rejects; a file that is not what its spec says ends the stage.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError, ParamsError
from minilingua.core.files import read_json, require
from minilingua.core.manifest import Manifest
from minilingua.core.records import InstructionExample, Message, MultipleChoiceItem, Role, Task
from minilingua.core.rejects import Reject, reject_order
from minilingua.core.seeding import content_id
from minilingua.sources.decode import NativeFile
from minilingua.sources.native import NativeRow, native_files, native_rows
from minilingua.sources.readers import instructions, multiple_choice
from minilingua.sources.readers.rows import (
    Exchange,
    Question,
    RejectedRowError,
    UnexpectedShapeError,
)
from minilingua.sources.spec import Kind, SourceSpec, load_spec

FACTS_FILE = "facts.json"
"""Beside a source's files, of the generated sample only: ``<relative file>:<row>`` ─► fact id."""

_SPEAKERS: tuple[Role, ...] = ("user", "assistant")

# Named here rather than imported by the name in the spec, so that the import graph (and with it
# the dependencies of the DVC stages) shows them.
_READER_MODULES = {module.__name__: module for module in (instructions, multiple_choice)}


def read_multiple_choice(
    raw: Path, name: str, languages: Sequence[str], manifest: Manifest
) -> Iterator[MultipleChoiceItem]:
    """Yields the questions of a multiple-choice source, in a fixed order.

    Args:
        raw: ``data/raw``.
        name: a source of multiple-choice questions.
        languages: codes to read; those that the source does not cover are ignored.
        manifest: counts and explains the rows that are dropped.

    Raises:
        MissingInputError: a file is missing.
        DataError: a file is not what its spec says.
        ParamsError: ``name`` is no multiple-choice source.
    """
    spec = _spec(name, ("multiple_choice",))
    facts = _facts(raw / name)
    files = _files(raw, name, spec, languages)
    for row, where, result in _results(name, spec, files, languages, manifest):
        assert isinstance(result, Question)
        yield MultipleChoiceItem(
            source=name,
            row=where,
            language=row.language,
            question=result.question,
            options=result.options,
            answer=result.answer,
            fact=facts.get(f"{row.file.relative}:{row.number}"),
        )


def read_instructions(
    raw: Path, name: str, languages: Sequence[str], manifest: Manifest
) -> Iterator[InstructionExample]:
    """Yields the prompts and responses of an instruction or code source, in a fixed order.

    Arguments and errors are those of ``read_multiple_choice``.
    """
    for file in instruction_files(raw, name, languages):
        yield from read_instruction_file(raw, name, file, languages, manifest)


def instruction_files(raw: Path, name: str, languages: Sequence[str]) -> list[NativeFile]:
    """Returns the files of a source in the order of ``read_instructions``, which reads them all.

    Arguments and errors are those of ``read_instructions``.
    """
    return _files(raw, name, _spec(name, ("instruction", "code")), languages)


def read_instruction_file(
    raw: Path, name: str, file: NativeFile, languages: Sequence[str], manifest: Manifest
) -> Iterator[InstructionExample]:
    """Yields what one file adds to ``read_instructions``: files can be read side by side."""
    spec = _spec(name, ("instruction", "code"))
    task: Task = "code" if spec.kind == "code" else "instruction"
    facts = _facts(raw / name)
    for row, where, result in _results(name, spec, [file], languages, manifest):
        assert isinstance(result, Exchange)
        yield InstructionExample(
            source=name,
            row=where,
            language=row.language,
            task=task,
            messages=_messages(result),
            key=content_id(row.language + result.prompt),
            fact=facts.get(f"{file.relative}:{row.number}") if facts else None,
        )


def _messages(exchange: Exchange) -> tuple[Message, ...]:
    messages = (
        Message(role="user", content=exchange.prompt),
        Message(role="assistant", content=exchange.response),
    )
    if not exchange.later:
        return messages
    later = zip(cycle(_SPEAKERS), exchange.later, strict=False)
    return (*messages, *(Message(role=role, content=turn) for role, turn in later))


def _spec(name: str, kinds: tuple[Kind, ...]) -> SourceSpec:
    spec = load_spec(name)
    if spec.kind not in kinds:
        raise ParamsError(f"source {name!r} is of kind {spec.kind}, not {' or '.join(kinds)}")
    return spec


def _files(raw: Path, name: str, spec: SourceSpec, languages: Sequence[str]) -> list[NativeFile]:
    _require_fetched_files(raw, name)
    return native_files(spec, raw / name, languages, hint="; `minilingua fetch` makes them")


def _results(
    name: str,
    spec: SourceSpec,
    files: Sequence[NativeFile],
    languages: Sequence[str],
    manifest: Manifest,
) -> Iterator[tuple[NativeRow, str, Question | Exchange]]:
    read = _reader(name, spec)
    for file in files:
        place = f"{name}/{file.relative}:"
        for row in native_rows(spec, file, languages):
            where = f"{place}{row.number}"
            try:
                yield row, where, read(row.values)
            except UnexpectedShapeError as error:
                raise DataError(f"{file.path}:{row.number}: {error}") from error
            except RejectedRowError as error:
                manifest.drop(error.reason, name, row.language)
                manifest.rejects.offer(
                    error.reason,
                    name,
                    reject_order(name, row.language, where),
                    partial(
                        Reject,
                        reason=error.reason,
                        source=name,
                        language=row.language,
                        row=where,
                        found=str(error),
                        prompt="",
                        answer="",
                    ),
                )


def _require_fetched_files(raw: Path, name: str) -> None:
    """Checks that what `fetch` wrote is still there; a set in several files would miss none."""
    manifest = raw / "manifest.json"
    if not manifest.exists():
        return
    sources = read_json(manifest)["details"]["sources"]
    for file in sources.get(name, {"files": {}})["files"]:
        require(raw / name / file, made_by="minilingua fetch")


def _reader(name: str, spec: SourceSpec) -> Callable[[dict[str, Any]], Question | Exchange]:
    module, _, function = spec.reader.partition(":")
    reader = getattr(_READER_MODULES.get(module), function, None)
    if reader is None:
        raise DataError(
            f"sources/specs/{name}.yaml: reader {spec.reader!r} is not a function of "
            f"{' or '.join(sorted(_READER_MODULES))}"
        )
    found: Callable[[dict[str, Any]], Question | Exchange] = reader
    return found


def _facts(directory: Path) -> dict[str, str]:
    path = directory / FACTS_FILE
    if not path.exists():
        return {}
    return read_json(path)
