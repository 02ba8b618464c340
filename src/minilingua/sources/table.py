"""``minilingua sources``: every data set with its licence, languages, size and pinned commit."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from minilingua.core.languages import LANGUAGES
from minilingua.params import SourcesParams
from minilingua.params_file import PARAMS_FILE, load_params
from minilingua.sources.pins import LOCK, Lock, read_lock
from minilingua.sources.selection import select_sources
from minilingua.sources.spec import Repository, SourceSpec, load_specs

_COMMERCIAL: dict[bool | str, str] = {True: "yes", False: "no", "unknown": "unknown"}
_SHORT = 12
"""Digits of a commit in the table; --json has all."""


def main(argv: Sequence[str]) -> int:
    """Prints the table, or all of it as JSON."""
    parser = argparse.ArgumentParser(
        prog="minilingua sources",
        description="Lists the data sets that sources.include of params.yaml can name: licence, "
        "languages, rows as published, and the commit that is pinned: with checksums if "
        "sources.lock has it, without if only the spec names it. `used` is what "
        "params.yaml makes of it.",
    )
    parser.add_argument("--json", action="store_true", help="everything that the specs say")
    arguments = parser.parse_args(argv)
    specs = load_specs()
    lock = read_lock() if LOCK.exists() else Lock()
    use = _use(load_params().sources, specs) if PARAMS_FILE.exists() else {}
    described = [_describe(name, spec, lock, use.get(name)) for name, spec in specs.items()]
    if arguments.json:
        print(json.dumps(described, ensure_ascii=False, indent=2))  # noqa: T201
    else:
        _print_table(described)
    return 0


def _use(params: SourcesParams, specs: Mapping[str, SourceSpec]) -> dict[str, str]:
    """Returns what a run with these parameters makes of each source."""
    selection = select_sources(params)
    said = dict.fromkeys(selection.used, "yes") | {
        name: f"left out: {reason}" for name, reason in selection.excluded.items()
    }
    return {name: said.get(name, "no: not in sources.include") for name in specs}


def _describe(name: str, spec: SourceSpec, lock: Lock, used: str | None) -> dict[str, Any]:
    pinned = {each.id: each for each in lock.sources.get(name, ())}
    evaluation = spec.evaluation
    return {
        "name": name,
        "title": spec.title,
        "kind": spec.kind,
        "licence": spec.licence,
        "licence_note": spec.licence_note,
        "commercial_use": spec.commercial_use,
        "gated": spec.gated,
        "evaluation_only": spec.is_evaluation_only,
        "evaluation": evaluation.model_dump(mode="json") if evaluation else None,
        "languages": [code for code in LANGUAGES if code in spec.languages],
        "rows": spec.rows,
        "origin": spec.origin,
        "citation": spec.citation,
        "repositories": [
            {
                "id": identifier,
                "ref": repository.ref,
                "revision": pinned[identifier].revision
                if identifier in pinned
                else repository.revision,
                "bytes": sum(file.bytes for file in pinned[identifier].files)
                if identifier in pinned
                else None,
            }
            for identifier, repository in spec.hub_repositories(LANGUAGES).items()
        ],
        "hub": [_named_by_language(repository, spec) for repository in spec.repositories],
        "obtain": spec.obtain,
        "used": used,
    }


def _named_by_language(repository: Repository, spec: SourceSpec) -> str:
    """Returns ``owner/name-{de,fr}`` where there is a data set for each language."""
    held = repository.languages or spec.languages
    return repository.id.format(language="{" + ",".join(spec.languages[c] for c in held) + "}")


def _print_table(described: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("source", "kind", "licence", "commercial", "evaluation", "languages", "rows",
               "revision", "hub id", "used")  # fmt: skip
    for column in columns:
        table.add_column(column, overflow="fold")
    for source in described:
        table.add_row(*_row(source))
    # A terminal wraps cells; a file or pipe gets every row whole, in one line.
    Console(width=None if sys.stdout.isatty() else 10_000, soft_wrap=False).print(table)


def _row(source: dict[str, Any]) -> list[str]:
    evaluation = source["evaluation"]
    part = "" if source["evaluation_only"] or not evaluation else " (test split)"
    flag = ("canary" if evaluation["canary"] else "benchmark") + part if evaluation else ""
    repositories = source["repositories"]
    pinned = [
        each["revision"][:_SHORT] + " (no checksums)" * (each["bytes"] is None)
        for each in repositories
        if each["revision"]
    ]
    missing = len(repositories) - len(pinned)
    if len(pinned) > 1:
        pinned = [f"{len(pinned)} pinned"]
    return [
        source["name"],
        source["kind"].replace("_", " "),
        source["licence"],
        _COMMERCIAL[source["commercial_use"]],
        flag,
        " ".join(source["languages"]),
        source["rows"] or "unknown",
        ", ".join([*pinned, *["not pinned"] * bool(missing)]),
        " ".join(source["hub"]) or source["origin"],
        source["used"] or "",
    ]
