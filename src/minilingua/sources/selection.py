"""Which sources a run reads: ``sources.include``, less what licence and purpose rule out.

Every stage asks here, so that all of them leave out the same ones for the same reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from minilingua.core.errors import ParamsError
from minilingua.params import SourcesParams
from minilingua.sources.spec import Kind, SourceSpec, load_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The sources that are asked for, in the order of ``sources.include``."""

    used: tuple[str, ...]
    excluded: dict[str, str]
    """Name ─► why it is left out, for people."""


def select_sources(params: SourcesParams) -> Selection:
    """Returns the sources to read and those that are left out.

    Raises:
        ParamsError: ``include`` names no such source, or all are left out.
    """
    reasons = {name: _why_not(load_spec(name), params) for name in params.include}
    selection = Selection(
        used=tuple(name for name, reason in reasons.items() if reason is None),
        excluded={name: reason for name, reason in reasons.items() if reason is not None},
    )
    if not selection.used:
        listed = "; ".join(f"{name}: {reason}" for name, reason in selection.excluded.items())
        raise ParamsError(f"sources: every source of include is left out: {listed}")
    return selection


def used_sources(params: SourcesParams, kinds: Sequence[Kind]) -> tuple[str, ...]:
    """Returns the names of the sources of some kinds that a run reads, as ``include`` has them.

    Raises:
        ParamsError: as ``select_sources``.
    """
    return tuple(name for name in select_sources(params).used if load_spec(name).kind in kinds)


def reads_evaluation_files(params: SourcesParams) -> bool:
    """Returns whether files that were published for evaluation are read."""
    return params.origin == "sample" or params.evaluation_sets == "include"


def _why_not(spec: SourceSpec, params: SourcesParams) -> str | None:
    if params.origin == "sample":
        return None if spec.in_sample else "it is not in the generated sample"
    if params.licence == "permissive" and spec.commercial_use is not True:
        found = (
            f"its licence is unknown ({spec.licence_note or spec.licence})"
            if spec.commercial_use == "unknown"
            else f"{spec.licence} forbids commercial use"
        )
        return f"{found}, and sources.licence is 'permissive'"
    if spec.evaluation and spec.is_evaluation_only and params.evaluation_sets == "exclude":
        return f"{spec.evaluation.reason}, and sources.evaluation_sets is 'exclude'"
    return None
