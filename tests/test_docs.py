"""The documentation names tests as evidence; each has to exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_the_documentation_names_exists() -> None:
    named = {
        (document.name, file, name)
        for document in [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md"]
        for file, name in _TEST.findall(document.read_text(encoding="utf-8"))
    }
    assert len(named) > 25
    for document, file, name in sorted(named):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"{document} names {file}::{name}"
