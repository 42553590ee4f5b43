"""The plots of a measurement of heads: a map of all of them, and measures against what leaving a head out costs."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
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
    """Layers by heads, a map for each measure, in shares of its largest value; a layer with fewer heads leaves cells
    empty.

    Args:
        measures: name -> for each layer the values of its heads, none below 0.
        unit: what a column is.
    """
    shares = {name: _shares(layers) for name, layers in measures.items()}
    known = np.concatenate([values[values > 0] for values in shares.values()])  # nan is not above 0
    norm = LogNorm(min(0.5, max(float(known.min()), 1 / FACTOR)) if known.size else 0.5, 1.0)
    rows = max(map(len, measures.values()))
    with rc_context(style.STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(style.WIDTH, 1.1 + 0.14 * max(rows, 6)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(measures), squeeze=False)[0]
        for axis, (name, values) in zip(axes, shares.items(), strict=True):
            drawn = np.ma.masked_invalid(np.maximum(values, float(norm.vmin or 0.0)))
            axis.pcolormesh(drawn, cmap=COLOURS, norm=norm, edgecolors="none", linewidth=0)
            axis.set_title(name.replace("_", " "))
            axis.invert_yaxis()
            axis.set_xlabel(unit)
            for line, size in ((axis.xaxis, values.shape[1]), (axis.yaxis, values.shape[0])):
                step = max(1, math.ceil(size / 16))
                line.set_ticks([place + 0.5 for place in range(0, size, step)], [str(n) for n in range(0, size, step)])
            axis.tick_params(length=0)
            for side in axis.spines.values():
                side.set_visible(False)
        axes[0].set_ylabel("layer")
        bar = figure.colorbar(
            ScalarMappable(norm, COLOURS), ax=list(axes), shrink=0.9, aspect=24, pad=0.015, format="{x:g}"
        )
        bar.set_label("share of the largest")
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


def _shares(layers: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """Values over their largest [layers, heads], nan where there is none."""
    values = np.full((len(layers), max(map(len, layers))), np.nan)
    for row, own in enumerate(layers):
        values[row, : len(own)] = [math.nan if value is None else value for value in own]
    known = values[values > 0]
    return values / known.max() if known.size else values
