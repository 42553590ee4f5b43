"""The plots of a sweep: the main effect of each key, and a heat map for each pair of keys."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from headwise.lab import plot_style as style
from headwise.lab.formatting import format_metric
from headwise.lab.report.drawing import Levels, draw_levels, wrapped, zoom

COLUMNS = 3
COLOURS = "Blues"


@dataclass(frozen=True)
class Effect:
    """A key: its name, and for each value, as shown, the mean over seeds with its interval; numbers have an order."""

    name: str
    values: Sequence[str]
    means: Sequence[float]
    intervals: Sequence[tuple[float, float] | None]


@dataclass(frozen=True)
class Interaction:
    """Two keys: their names, their values as shown, and the means [rows][columns], nan where there is none."""

    names: tuple[str, str]
    values: tuple[Sequence[str], Sequence[str]]
    means: Sequence[Sequence[float]]


def main_effects(effects: Sequence[Effect], levels: Levels, metric: str) -> Figure:
    """A panel for each key: mean over seeds and over all settings with a value, with its interval; one scale for all,
    so that keys can be compared."""
    with rc_context(style.STYLE):
        figure, axes = _panels(len(effects), 2.7)
        ends = [end for effect in effects for end in _ends(effect)]
        for axis, effect in zip(axes, effects, strict=False):
            places = range(len(effect.values))
            line = "-" if all(map(_is_number, effect.values)) else "none"
            axis.plot(places, effect.means, color=style.colour(1), linestyle=line, marker=style.marker(1), markersize=5)
            for place, interval in zip(places, effect.intervals, strict=True):
                if interval is not None:
                    axis.plot([place] * 2, interval, color=style.colour(1), linewidth=1.4, alpha=0.7)
            _label(axis, "x", effect.values)
            axis.set_xlim(-0.5, len(effect.values) - 0.5)
            axis.set_xlabel(effect.name)
            axis.set_ylabel(metric)
            zoom(axis, min(ends), max(ends), levels, vertical=True)
            draw_levels(axis, levels, vertical=True, within=True)
        return figure


def heat_maps(interactions: Sequence[Interaction], metric: str) -> Figure:
    """A map for each pair of keys, all on one scale of colours; a cell without a setting stays empty."""
    known = [value for one in interactions for row in one.means for value in row if math.isfinite(value)]
    norm = Normalize(min(known), max(known) if max(known) > min(known) else min(known) + 1e-9)
    tallest = max(len(one.values[0]) for one in interactions)
    with rc_context(style.STYLE | {"axes.grid": False}):
        figure, axes = _panels(len(interactions), 1.1 + 0.34 * tallest)
        for axis, one in zip(axes, interactions, strict=False):
            values = np.asarray(one.means, dtype=float)
            axis.pcolormesh(np.ma.masked_invalid(values), cmap=COLOURS, norm=norm, edgecolors="none", linewidth=0)
            axis.invert_yaxis()
            axis.set_ylabel(one.names[0])
            axis.set_xlabel(one.names[1])
            for name, shown in (("y", one.values[0]), ("x", one.values[1])):
                _label(axis, name, shown, 0.5)
            for side in axis.spines.values():
                side.set_visible(False)
            axis.tick_params(length=0)
            _write(axis, values, norm, len(interactions))
        bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=axes, shrink=0.9, aspect=24, pad=0.015)
        bar.set_label(metric)
        bar.outline.set_visible(False)
        return figure


def effects_of(points: Mapping[str, Sequence[tuple[str, float, tuple[float, float] | None]]]) -> list[Effect]:
    """By key (value, mean, interval) of each point; keys with fewer than two points have no effect to show."""
    return [
        Effect(name, *(list(part) for part in zip(*own, strict=True))) for name, own in points.items() if len(own) > 1
    ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Panels in rows of at most `COLUMNS`, those that are not needed hidden; height of a row in inches."""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(style.WIDTH, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes[:count]


def _label(axis: Axes, name: str, values: Sequence[str], offset: float = 0.0) -> None:
    """Values of a key along an axis, some left out where there are many."""
    every = max(1, -(-len(values) // 12))
    places = range(0, len(values), every)
    texts = [wrapped(values[place], 12) for place in places]
    (axis.set_xticks if name == "x" else axis.set_yticks)([place + offset for place in places], texts)


def _write(axis: Axes, values: np.ndarray, norm: Normalize, maps: int) -> None:
    if values.shape[1] * min(maps, COLUMNS) > 18:
        return
    colours = colormaps[COLOURS]
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            ink = style.readable_on(colours(float(norm(value))))
            place = (column + 0.5, row + 0.5)
            axis.text(*place, format_metric(value), ha="center", va="center", fontsize=style.SMALL, color=ink)


def _ends(effect: Effect) -> list[float]:
    return [*effect.means, *(end for interval in effect.intervals for end in interval or ())]
