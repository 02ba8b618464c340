"""Code responses parse and do what their task says."""

import ast
import re
from collections.abc import Callable
from typing import Any

from minilingua.sources.sample.code import code_rows


def run(source: str, *arguments: Any) -> Any:
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102 - our own generated code, which is what is tested
    (name,) = [name for name, value in scope.items() if callable(value)]
    return scope[name](*arguments)


def test_responses_parse_and_tasks_are_distinct() -> None:
    rows = code_rows(400, 1)
    assert len({row.instruction for row in rows}) == 400
    for row in rows:
        assert isinstance(ast.parse(row.answer).body[0], ast.FunctionDef)
    assert rows == code_rows(400, 1)


def test_functions_compute_what_they_are_asked_for() -> None:
    checks: dict[str, Callable[[str, Any], bool]] = {
        r"add_\d+ that adds (\d+)": lambda f, n: run(f, 5) == 5 + n,
        r"times_\d+ that multiplies .* by (\d+)": lambda f, n: run(f, 5) == 5 * n,
        r"divisible by (\d+)": lambda f, n: run(f, 3 * n) and not run(f, 3 * n + 1),
        r"power (\d+)": lambda f, n: run(f, 2) == 2**n,
        r"first (\d+) items": lambda f, n: run(f, list(range(99))) == list(range(n)),
        r"last (\d+) items": lambda f, n: run(f, list(range(99))) == list(range(99))[-n:],
        r"length is (\d+)": lambda f, n: run(f, ["a" * n, "a" * (n + 1)]) == ["a" * n],
        r"multiples of (\d+) below": lambda f, n: run(f, 2 * n + 1) == [0, n, 2 * n],
        r"repeats a text (\d+) times": lambda f, n: run(f, "ab") == "ab" * n,
        r"joins texts with '(.*)'": lambda f, s: run(f, ["a", "b"]) == f"a{s}b",
        r"at each '(.*)'": lambda f, s: run(f, f"a{s}b") == ["a", "b"],
        r"often the word '(\w+)'": lambda f, w: run(f, [w, "other", w]) == 2,
        r"starts with '(\w+)'": lambda f, w: run(f, w + "x") and not run(f, "x" + w),
        r"looks up '(\w+)'": lambda f, w: run(f, {w: "found"}) == "found",
    }
    done = set()
    for row in code_rows(300, 1):
        for pattern, check in checks.items():
            if found := re.search(pattern, row.instruction):
                value: Any = found.group(1)
                assert check(row.answer, int(value) if value.isdigit() else value), row
                done.add(pattern)
                break
        else:
            raise AssertionError(f"no check for {row.instruction!r}")
    assert done == set(checks)
