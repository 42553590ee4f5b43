"""The plots of a measurement of heads: a map of all of them, and measures against what leaving a head out costs."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from headwise.lab import plot_style as style
from headwise.lab.report.drawing import figure_row

COLOURS = "Blues"
FACTOR = 1e4
"""Most that the colours of a map span, so that one head that does nothing does not take all contrast from the rest."""


def maps(measures: Mapping[str, Sequence[Sequence[float | None]]], unit: str) -> Figure:
    """Layers by heads, a map for each measure; a layer with fewer heads leaves cells empty.

    Args:
        measures: name -> for each layer the values of its heads, none below 0.
        unit: what a column is.
    """
    rows = max(map(len, measures.values()))
    with rc_context(style.STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(style.WIDTH, 1.1 + 0.14 * max(rows, 6)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(measures), squeeze=False)[0]
        for axis, (name, layers) in zip(axes, measures.items(), strict=True):
            values = _padded(layers)
            norm = _norm(values)
            mesh = axis.pcolormesh(
                np.ma.masked_invalid(np.maximum(values, norm.vmin)),
                cmap=COLOURS,
                norm=norm,
                edgecolors="none",
                linewidth=0,
            )
            axis.set_title(name.replace("_", " "))
            axis.invert_yaxis()
            axis.set_xlabel(unit)
            axis.set_ylabel("layer")
            for line, size in ((axis.xaxis, values.shape[1]), (axis.yaxis, values.shape[0])):
                step = max(1, math.ceil(size / 16))
                line.set_ticks([place + 0.5 for place in range(0, size, step)], [str(n) for n in range(0, size, step)])
            axis.tick_params(length=0)
            for side in axis.spines.values():
                side.set_visible(False)
            bar = figure.colorbar(mesh, ax=axis, shrink=0.9, aspect=24, pad=0.02)
            bar.outline.set_visible(False)
        return figure


def against_ablation(
    measures: Mapping[str, Sequence[float | None]], changes: Sequence[float | None], unit: str
) -> Figure:
    """What leaving a head out costs, over each measure."""
    with rc_context(style.STYLE):
        figure, axes = figure_row(2.8, len(measures), [1.0] * len(measures))
        for axis, (name, values) in zip(axes, measures.items(), strict=True):
            x = [math.nan if value is None else value for value in values]
            y = [math.nan if change is None else change for change in changes]
            axis.plot(x, y, linestyle="none", marker="o", markersize=4, color=style.colour(1), alpha=0.8)
            axis.axhline(0, color=style.MUTED, linewidth=0.8)
            axis.set_xlabel(name.replace("_", " "))
            axis.set_ylabel(f"cost, {unit}")
            axis.xaxis.set_major_locator(MaxNLocator(5))
        return figure


def _padded(layers: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    values = np.full((len(layers), max(map(len, layers))), np.nan)
    for row, own in enumerate(layers):
        values[row, : len(own)] = [math.nan if value is None else value for value in own]
    return values


def _norm(values: NDArray[np.float64]) -> LogNorm:
    known = values[np.isfinite(values) & (values > 0)]
    high = float(known.max()) if known.size else 1.0
    low = max(float(known.min()), high / FACTOR) if known.size else 0.1
    return LogNorm(low if low < high else high / 2, high)
