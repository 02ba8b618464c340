"""What differs in an output of a stage: which sources, files and rows.

data/raw/<source>/..               sources, files, numbers of rows
data/mcqa, data/conversations      rows by language and source
anything else                      names of files
"""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from minilingua.core.errors import DataError
from minilingua.core.files import canonical_json
from minilingua.provenance.contents import Contents
from minilingua.sources.decode import NativeFile, decode
from minilingua.sources.spec import load_spec, source_names

_SHOWN = 3
"""Files, and rows of a file, that are named."""
_DERIVED = {"manifest.json"}
"""Files that differ because others do."""


def describe_output(path: str, one: str, other: str, contents: Contents) -> str:
    """Returns what differs in one output, in one line.

    Args:
        path: of the output.
        one: its DVC hash in one state.
        other: its DVC hash in the other state.
        contents: where its files may still be.
    """
    listings = contents.listing(one), contents.listing(other)
    if listings[0] is None or listings[1] is None:
        return f"{one[:12]} and {other[:12]} (not in the cache: no more can be told)"
    a, b = listings
    assert a is not None
    assert b is not None
    changed = sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))
    telling = [name for name in changed if Path(name).name not in _DERIVED] or changed
    if path == "data/raw":
        groups = _by_source(telling)
        parts = []
        for source, names in groups.items():
            one_side, other_side = _below(source, a), _below(source, b)
            found = _files(names, one_side, other_side, contents, _native_rows(source))
            parts.append(f"source {source}: {found}")
        return "; ".join(parts)
    if path in {"data/mcqa", "data/conversations"}:
        return _files(telling, a, b, contents, _json_rows)
    if telling == [""]:
        return f"{one[:12]} and {other[:12]}"
    return _names(telling)


Rows = Callable[[Path, str], Iterator[tuple[str, str]]]
"""File and its name ─► (row as text, where it is from) of each row."""


def _files(
    names: list[str], a: dict[str, str], b: dict[str, str], contents: Contents, rows: Rows
) -> str:
    parts = []
    for name in names[:_SHOWN]:
        paths = [contents.file(side[name]) if name in side else None for side in (a, b)]
        if name not in a or name not in b:
            parts.append(f"{name} only in one")
        elif paths[0] is None or paths[1] is None:
            parts.append(name)
        else:
            parts.append(f"{name}: {_row_difference(paths[0], paths[1], name, rows)}")
    if len(names) > _SHOWN:
        parts.append(f"and {len(names) - _SHOWN} more files")
    return "; ".join(parts)


def _row_difference(one: Path, other: Path, name: str, rows: Rows) -> str:
    try:
        a, b = list(rows(one, name)), list(rows(other, name))
    except DataError:
        return "not readable as rows"
    counts = Counter(text for text, _ in a), Counter(text for text, _ in b)
    only = [
        [where for text, where in side if count[text] > against[text]]
        for side, count, against in ((a, *counts), (b, counts[1], counts[0]))
    ]
    if not only[0] and not only[1]:
        return "the same rows in another order or form"
    if only[0] == only[1]:
        return f"{_count(only[0])} other content ({_shown(only[0])})"
    parts = [
        f"{_count(where)} only in the {which} ({_shown(where)})"
        for which, where in zip(("first", "second"), only, strict=True)
        if where
    ]
    return ", ".join(parts)


def _native_rows(source: str) -> Rows:
    def rows(path: Path, name: str) -> Iterator[tuple[str, str]]:
        if source not in source_names() or Path(name).name == "facts.json":
            return
        # The cache names files by hash, and their endings tell their form.
        with tempfile.TemporaryDirectory() as directory:
            linked = Path(directory) / Path(name).name
            linked.symlink_to(path.resolve())
            file = NativeFile(
                path=linked, relative=name, language=None, layouts=tuple(load_spec(source).layouts)
            )
            for number, values in decode(file):
                yield canonical_json(values), f"row {number}"

    return rows


def _json_rows(path: Path, name: str) -> Iterator[tuple[str, str]]:
    if not name.endswith(".jsonl"):
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        yield line, str(found.get("source", "row"))


def _by_source(names: list[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        source, _, rest = name.partition("/")
        groups.setdefault(source, []).append(rest or source)
    return groups


def _below(source: str, listing: dict[str, str]) -> dict[str, str]:
    """Returns the files of a source under the names that ``_by_source`` gives them."""
    return {
        name.removeprefix(f"{source}/"): md5
        for name, md5 in listing.items()
        if name == source or name.startswith(f"{source}/")
    }


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _count(rows: list[str]) -> str:
    return f"{len(rows)} row" + "s" * (len(rows) != 1)


def _shown(where: list[str]) -> str:
    distinct = Counter(where)
    told = [name if count == 1 else f"{name} x{count}" for name, count in distinct.items()]
    return ", ".join(told[:_SHOWN]) + ", .." * (len(told) > _SHOWN)
