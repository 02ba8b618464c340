"""The page: one HTML file without scripts, fonts or links to anything else."""

from collections.abc import Sequence
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined

from minilingua.core.languages import LANGUAGES
from minilingua.preview.examples import SourcePreview


def render(
    previews: Sequence[SourcePreview], *, split: str, per_source: int, experiment: str, mark: str
) -> str:
    """Returns the page; equal input gives equal bytes.

    Args:
        previews: those of one language next to each other.
        split: which split they are of.
        per_source: how many examples were asked for.
        experiment: name of the experiment.
        mark: of the tokens; `track` looks at it.
    """
    environment = Environment(
        loader=PackageLoader("minilingua.preview", "."),
        autoescape=True,  # conversations are text, whatever they spell
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    languages = [
        {"code": code, "name": LANGUAGES[code].english_name, "sources": list(sources)}
        for code, sources in groupby(previews, key=lambda preview: preview.language)
    ]
    return environment.get_template("page.html.jinja").render(
        languages=languages,
        split=split,
        per_source=per_source,
        experiment=experiment,
        mark=mark,
    )
