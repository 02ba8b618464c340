"""Native files as a stream of rows: finds a source's files, decodes them, checks their columns.

    data/raw/<source>/ ─► NativeFile (pattern, language) ─► NativeRow (plain Python values)

Order is fixed: layouts and patterns as the spec lists them, languages in their canonical order,
files by name, rows as they stand. Memory does not grow with the size of a file.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.languages import LANGUAGES
from minilingua.sources.decode import NativeFile, decode
from minilingua.sources.spec import Layout, SourceSpec, matches


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeRow:
    """One row as its file has it."""

    file: NativeFile
    number: int
    """Line or row, from 1."""
    language: str
    values: dict[str, Any]


def native_files(
    spec: SourceSpec,
    directory: Path,
    languages: Collection[str],
    hint: str = "",
    *,
    evaluation: bool = True,
) -> list[NativeFile]:
    """Returns the files that hold the given languages; languages the source lacks are ignored.

    Args:
        spec: the source.
        directory: where its files are.
        languages: our codes.
        hint: end of the message when something is missing.
        evaluation: include the files that are for evaluation; a language that has no others may
            be missing either way.

    Raises:
        MissingInputError: a language that the source covers has no file.
    """
    found: dict[str, NativeFile] = {}
    for code, pattern, layout in _patterns(spec, languages):
        for path in sorted(directory.glob(pattern)):
            relative = path.relative_to(directory).as_posix()
            known = found.get(relative)
            found[relative] = NativeFile(
                path=path,
                relative=relative,
                language=code,
                layouts=(*(known.layouts if known else ()), layout),
            )
    chosen = [
        file for file in found.values() if evaluation or not spec.is_evaluation_file(file.relative)
    ]
    optional = spec.evaluation.languages if spec.evaluation else ()
    covered = {file.language for file in chosen}
    missing = [code for code in _missing(spec, languages, covered) if code not in optional]
    if missing:
        expected = dict.fromkeys(
            pattern for code, pattern, _ in _patterns(spec, languages) if code in {missing[0], None}
        )
        raise MissingInputError(
            f"{directory}: no file for {', '.join(missing)}; expected for {missing[0]}: "
            f"{' or '.join(expected)}{hint}"
        )
    return chosen


def wanted_files(
    spec: SourceSpec, languages: Collection[str], paths: Iterable[str], *, evaluation: bool = True
) -> list[str]:
    """Returns which of the paths below a source's directory ``native_files`` would find there."""
    patterns = [pattern for _, pattern, _ in _patterns(spec, languages)]
    return [
        path
        for path in paths
        if any(matches(path, pattern) for pattern in patterns)
        and (evaluation or not spec.is_evaluation_file(path))
    ]


def uncovered(spec: SourceSpec, languages: Collection[str], paths: Iterable[str]) -> list[str]:
    """Returns the languages, of those the source covers, that none of the paths is a file of."""
    listed = list(paths)
    covered = {
        code
        for code, pattern, _ in _patterns(spec, languages)
        if any(matches(path, pattern) for path in listed)
    }
    return _missing(spec, languages, covered)


def _covers(spec: SourceSpec, languages: Collection[str]) -> list[str]:
    return [code for code in LANGUAGES if code in languages and code in spec.languages]


def _missing(spec: SourceSpec, languages: Collection[str], covered: set[str | None]) -> list[str]:
    if None in covered:  # a file of several languages
        return []
    return [code for code in _covers(spec, languages) if code not in covered]


def _patterns(
    spec: SourceSpec, languages: Collection[str]
) -> Iterator[tuple[str | None, str, Layout]]:
    wanted = _covers(spec, languages)
    for layout in spec.layouts:
        for pattern in layout.files:
            if "{" not in pattern:
                if wanted:
                    # All languages share the file and a column tells them apart, or there is one.
                    yield None if spec.language_column else wanted[0], pattern, layout
                continue
            for code in wanted:
                names = {"code": code, "language": spec.languages[code]}
                english = LANGUAGES[code].english_name.lower()
                yield code, pattern.format(**names, english=english), layout


def native_rows(
    spec: SourceSpec, file: NativeFile, languages: Collection[str]
) -> Iterator[NativeRow]:
    """Yields the rows of a file that are in the given languages.

    Raises:
        DataError: the file cannot be decoded, or its columns are not those of its layouts.
    """
    codes = {name: code for code, name in spec.languages.items() if code in languages}
    for number, values in decode(file):
        language = file.language
        if spec.language_column is not None:
            language = codes.get(_language_name(values, spec.language_column, file, number))
        if language is not None:
            yield NativeRow(file=file, number=number, language=language, values=values)


def _language_name(values: dict[str, Any], column: str, file: NativeFile, number: int) -> str:
    value: Any = values
    for key in column.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str):
        raise DataError(f"{file.path}:{number}: {column}: expected a language, found {value!r}")
    return value
