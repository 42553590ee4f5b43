"""Plots of what mixtures of heads choose: how many heads, by which thresholds, and which ones."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from headwise.lab import plot_style as style
from headwise.lab.report.drawing import Curve, band_of, draw_band, figure_row, legend, plain_numbers

SERIES = {
    "heads_active_mean": "heads active",
    "threshold_mean": "threshold",
    "complexity_mean": "complexity",
    "sharpness_mean": "sharpness",
}
"""Keys of routing.jsonl that are drawn over training, with their labels."""


def choices(series: Mapping[str, Mapping[str, Sequence[Curve]]], colours: Mapping[str, int]) -> Figure:
    """One panel per number of `SERIES` that any arm recorded, over updates: line mean over seeds, band their range.

    Args:
        series: key of `SERIES` -> arm -> the curves of its seeds.
        colours: each arm's place in the report, which decides its colour.
    """
    arms = list(dict.fromkeys(arm for by_arm in series.values() for arm in by_arm))
    with rc_context(style.STYLE):
        figure, axes = figure_row(2.7, len(series), [1.0] * len(series))
        for axis, (key, by_arm) in zip(axes, series.items(), strict=True):
            for arm, curves in by_arm.items():
                draw_band(axis, band_of(curves), colours[arm], len(arms))
            axis.set_xlabel("updates")
            axis.set_title(SERIES[key])
            plain_numbers(axis.xaxis)
        legend(figure, arms, [colours[arm] for arm in arms])
        return figure


def head_loads(arms: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Share of tokens that use each head, layer by layer; a white cell is a dead head.

    Args:
        arms: label -> [layers, H], between 0 and 1.
    """
    layers = max(len(loads) for loads in arms.values())
    with rc_context(style.STYLE):
        figure, axes = figure_row(1.1 + 0.32 * layers, len(arms), [loads.shape[1] for loads in arms.values()])
        for axis, (label, loads) in zip(axes, arms.items(), strict=True):
            image = axis.imshow(loads, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axis.set_title(label)
            axis.set_xlabel("head")
            axis.set_xticks(range(loads.shape[1]), [str(head + 1) for head in range(loads.shape[1])])
            axis.set_yticks(range(len(loads)), [str(layer + 1) for layer in range(len(loads))])
            axis.grid(False)
        axes[0].set_ylabel("layer")
        figure.colorbar(image, ax=axes[-1], label="share of tokens")
        return figure
