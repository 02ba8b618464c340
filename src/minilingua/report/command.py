"""``minilingua report``: writes the page."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from minilingua.core.files import write_text
from minilingua.report.charts import (
    loss_by_language_chart,
    loss_chart,
    mixture_chart,
    results_chart,
    waterfall_chart,
)
from minilingua.report.content import Content, gather

PAGE = Path("reports/index.html")


def main(argv: Sequence[str]) -> int:
    """Writes the page and says where it is.

    Raises:
        MissingInputError: an output of a stage is missing; the message names the stage.
        DataError: an output cannot be read.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua report",
        description="Writes one HTML page with the results, the training, the data and how the "
        "model was made. It needs no server and no network to be read.",
    )
    parser.add_argument("--output", type=Path, default=PAGE, help=f"default: {PAGE}")
    arguments = parser.parse_args(argv)
    write_text(arguments.output, render(gather()))
    print(f"report: {arguments.output}")  # noqa: T201 - this is the program's output
    return 0


def render(content: Content) -> str:
    """Returns the page; equal content gives equal bytes."""
    environment = Environment(
        loader=PackageLoader("minilingua.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # Charts are our own SVG, whose texts matplotlib has escaped.
    charts = {
        "results": Markup(results_chart(content.languages)),  # noqa: S704
        "loss": Markup(loss_chart(content.training)),  # noqa: S704
        "languages": Markup(loss_by_language_chart(content.training)),  # noqa: S704
        "mixture": Markup(  # noqa: S704
            mixture_chart(content.passport["token_ledger"], content.params.mixture.unit)
        ),
    }
    if content.waterfall is not None:
        charts["waterfall"] = Markup(waterfall_chart(content.waterfall))  # noqa: S704
    return environment.get_template("page.html.jinja").render(
        content=content,
        charts=charts,
        decision=content.training.decision,
        end=content.training.end,
        parameters=list(_flatten(content.passport["params"])),
    )


def _flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in params.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)
