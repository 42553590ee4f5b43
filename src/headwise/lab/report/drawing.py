"""What every plot is drawn with: a figure of the page's width, bands over seeds, reference lines with their names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from headwise.lab import plot_style as style
from headwise.lab.formatting import MINUS, format_count, format_magnitude

FRAME = (240.0, 170.0)
"""Width and height in points of a frame, one of two side by side, by which names beside it are kept apart."""

Band = tuple[NDArray[np.float64], ...]

Curve = tuple[Sequence[float], Sequence[float]]
"""Updates and the values at them."""


@dataclass(frozen=True)
class Levels:
    """Horizontal or vertical lines that give a value its meaning: floor, ceiling, and other predictors by name."""

    floor: float | None = None
    ceiling: float | None = None
    others: Mapping[str, float] | None = None

    def named(self) -> list[tuple[str, float]]:
        ends = [("floor", self.floor), ("ceiling", self.ceiling)]
        known = [(name, level) for name, level in ends if level is not None]
        return known + [(name.replace("_", " "), level) for name, level in (self.others or {}).items()]


def figure_row(height: float, columns: int = 1, ratios: Sequence[float] = (1.0,)) -> tuple[Figure, list[Axes]]:
    """A figure of the page's width with panels side by side; height in inches."""
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, width_ratios=ratios)
    return figure, list(axes[0])


def band_of(curves: Sequence[Curve]) -> Band:
    """Mean, lowest and highest over seeds at every update at which any seed was evaluated, and these updates."""
    known = [(np.asarray(x, float), np.asarray(y, float)) for x, y in curves if len(x)]
    if not known:
        return (np.empty(0),) * 4
    grid = np.unique(np.concatenate([x for x, _ in known]))
    # A seed that stopped early has no value after its end; before it, its neighbours are interpolated.
    rows = np.stack([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in known])
    return np.nanmean(rows, 0), np.nanmin(rows, 0), np.nanmax(rows, 0), grid


def draw_mean(axis: Axes, band: Band, index: int, arms: int) -> None:
    """The mean over seeds as a line with the arm's colour and markers."""
    mean, *_, x = band
    if len(x):
        axis.plot(x, mean, color=style.colour(index), **style.marks(len(x), index, arms))


def draw_band(axis: Axes, band: Band, index: int, arms: int) -> None:
    """The mean over seeds, and the band from lowest to highest."""
    _, low, high, x = band
    if len(x):
        axis.fill_between(x, low, high, color=style.colour(index), alpha=0.16, linewidth=0)
    draw_mean(axis, band, index, arms)


def zoom(axis: Axes, low: float, high: float, levels: Levels, vertical: bool) -> None:
    """Limits around the data, widened to a level that is near enough to be worth seeing."""
    span = max(high - low, 1e-3 * max(abs(low), abs(high), 1e-9))
    for _, level in levels.named():
        if low - 0.5 * span <= level <= high + 0.5 * span:
            low, high = min(low, level), max(high, level)
    margin = 0.12 * max(high - low, span)
    (axis.set_ylim if vertical else axis.set_xlim)(low - margin, high + margin)
    (axis.yaxis if vertical else axis.xaxis).set_major_locator(MaxNLocator(6))


def draw_levels(axis: Axes, levels: Levels, vertical: bool, within: bool = False) -> int:
    """A line and its name for each level; `within` leaves out those outside the limits already set.

    Names stand outside the frame, right of it or above it, where no curve passes, each at the end of its own line.
    Where names would cover each other they move apart and a thin stroke leads to the line.

    Args:
        vertical: the levels are values of y.

    Returns:
        how many rows of names stand above the frame.
    """
    bounds = axis.get_ylim() if vertical else axis.get_xlim()
    shown = [(n, v) for n, v in levels.named() if not within or min(bounds) <= v <= max(bounds)]
    if not shown:
        return 0
    if not within:
        low, high = min(*bounds, *(v for _, v in shown)), max(*bounds, *(v for _, v in shown))
        margin = 0.06 * (high - low)
        bounds = (low - margin, high + margin)
        (axis.set_ylim if vertical else axis.set_xlim)(*bounds)
    for name, level in shown:
        dashes = (0, (4, 2)) if name in ("floor", "ceiling") else (0, (1.5, 1.5))
        (axis.axhline if vertical else axis.axvline)(
            level, color=style.MUTED, linewidth=1.0, linestyle=dashes, zorder=1
        )
    shown.sort(key=lambda named: named[1])
    size = max(bounds) - min(bounds)
    places = [(level - min(bounds)) / size for _, level in shown]
    stroke = {"arrowstyle": "-", "color": style.MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
    text: Any = {"fontsize": style.SMALL, "color": style.MUTED, "annotation_clip": False, "arrowprops": stroke}
    if vertical:
        for (name, _), place, own in zip(shown, places, apart(places, 1.25 * style.SMALL / FRAME[1]), strict=True):
            axis.annotate(
                name, (1, place), (1.025, own), "axes fraction", "axes fraction", ha="left", va="center", **text
            )
        return 0
    flags = stacked(places, [(0.62 * style.SMALL * len(name) + 8) / FRAME[0] for name, _ in shown])
    for (name, _), place, (row, side) in zip(shown, places, flags, strict=True):
        height = 3 + 1.3 * style.SMALL * row
        text |= {"arrowprops": None, "ha": "left" if side > 0 else "right", "va": "bottom"}
        axis.annotate(name, (place, 1), (4 * side, height), "axes fraction", "offset points", **text)
        pole = (0, height + style.SMALL)
        axis.annotate("", (place, 1), pole, "axes fraction", "offset points", annotation_clip=False, arrowprops=stroke)
    return 1 + max(row for row, _ in flags)


def apart(places: Sequence[float], distance: float) -> list[float]:
    """Places in rising order, moved as little as possible until neighbours are this far from each other.

    Those that would be too close form a group, evenly spaced about the middle of what its members wanted.
    """
    groups: list[list[float]] = []
    for place in places:
        groups.append([place])
        while len(groups) > 1 and _begin(groups[-1], distance) < _end(groups[-2], distance) + distance:
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_begin(group, distance) + i * distance for group in groups for i in range(len(group))]


def stacked(places: Sequence[float], widths: Sequence[float]) -> list[tuple[int, int]]:
    """Names above a frame from 0 to 1, as flags on poles that stand on their lines, in rows, none over another.

    Args:
        places: of the lines, in rising order.
        widths: of the names, in frames.

    Returns:
        the row of each, from 0 at the frame, and its side of the pole: 1, right of it, in the left half of the frame,
        -1 in the right half, so that names stay above the frame.
    """
    # From the middle outwards: the pole of a line further out passes beside the names of those further in.
    order = sorted(range(len(places)), key=lambda i: abs(places[i] - 0.5))
    found: dict[int, tuple[int, int]] = {}
    spans: dict[int, tuple[float, float]] = {}
    for i in order:
        side = 1 if places[i] < 0.5 else -1
        spans[i] = begin, end = (
            min(places[i], places[i] + side * widths[i]),
            max(places[i], places[i] + side * widths[i]),
        )
        above = 1 + max((row for row, _ in found.values()), default=-1)  # where no name is, so that the search ends
        taken = {row for j, (row, _) in found.items() if begin < spans[j][1] and spans[j][0] < end}
        taken |= {row for j, (high, _) in found.items() if begin < places[j] < end for row in range(high + 1)}
        found[i] = (next(row for row in range(above + 1) if row not in taken), side)
    return [found[i] for i in range(len(places))]


def legend(figure: Figure, names: Sequence[str], colours: Sequence[int] | None = None, lines: bool = True) -> None:
    """A legend above the plots, in as many columns as the names allow."""
    indices = list(range(len(names))) if colours is None else list(colours)
    handles = [
        Line2D(
            [],
            [],
            color=style.colour(index),
            linestyle="-" if lines else "none",
            marker=style.marker(index),
            markersize=5,
        )
        for index in indices
    ]
    columns = max(1, min(len(names), 100 // (8 + max(map(len, names), default=0))))
    figure.legend(handles, names, loc="outside upper left", ncols=columns, handlelength=2.4, fontsize=9)


def plain_numbers(axis: object) -> None:
    """Label an axis with whole numbers, thousands apart."""
    axis.set_major_formatter(FuncFormatter(lambda x, _: format_count(x)))  # type: ignore[attr-defined]
    axis.set_major_locator(MaxNLocator(5, integer=True))  # type: ignore[attr-defined]


def wrapped(name: str, width: int) -> str:
    """A long label in several lines, broken behind its punctuation."""
    lines = [""]
    for part in re.split(r"(?<=[\s:,=.])", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def round_magnitude(x: float) -> str:
    """A number with a prefix and no superfluous zeros, for labels of an axis: 200 k."""
    digits, _, prefix = format_magnitude(x).partition(" ")
    return f"{float(digits):g} {prefix}".strip()


def signed(x: float) -> str:
    """A difference for labels of an axis, with its sign."""
    return f"{x:+.4g}".replace("-", MINUS) if abs(x) > 1e-12 else "0"


def _begin(group: Sequence[float], distance: float) -> float:
    return sum(group) / len(group) - distance * (len(group) - 1) / 2


def _end(group: Sequence[float], distance: float) -> float:
    return _begin(group, distance) + distance * (len(group) - 1)
