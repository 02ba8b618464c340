"""The picture of a mixture: planned and realised shares, and how often each language is seen."""

import io
from collections.abc import Sequence

import numpy as np

from minilingua.packing.ledger import LedgerRow
from minilingua.params import MixtureParams

_PLANNED, _REALISED, _EPOCHS, _MARK = "#9db7d5", "#1f4e79", "#c4511d", "#555555"


def mixture_png(rows: Sequence[LedgerRow], mixture: MixtureParams) -> bytes:
    """Returns a PNG of the ledger's languages; the same rows give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.32 * len(rows) + 1.6), dpi=150, layout="constrained")
    shares, epochs = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    place = np.arange(len(rows))
    for offset, name, color in ((-0.2, "planned", _PLANNED), (0.2, "realised", _REALISED)):
        values = [100 * getattr(row, f"{name}_share") for row in rows]
        shares.barh(place + offset, values, height=0.4, color=color, label=name)
    shares.set_yticks(place, [row.language for row in rows])
    shares.invert_yaxis()
    shares.set_xlabel(f"share of {mixture.unit.replace('_', ' ')}, %")
    shares.set_title(f"mixture {mixture.name}")
    shares.legend(frameon=False)
    epochs.barh(place, [row.epochs for row in rows], height=0.6, color=_EPOCHS)
    if mixture.max_epochs is not None:
        epochs.axvline(mixture.max_epochs, color=_MARK, linestyle="--", linewidth=1)
    epochs.set_xlabel("epochs")
    for axes in (shares, epochs):
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    FigureCanvasAgg(figure)
    png = io.BytesIO()
    # Without this the file would name the library's version.
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()
