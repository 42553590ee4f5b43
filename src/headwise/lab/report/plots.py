"""Every plot of headwise: plain data in, a matplotlib figure out, in the style of `plot_style`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from headwise.lab import plot_style as style
from headwise.lab.formatting import MINUS, format_count, format_magnitude

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


@dataclass(frozen=True)
class Estimate:
    """An arm's values over seeds, their mean and interval, what one example costs, and its colour's place."""

    values: Sequence[float]
    mean: float
    interval: tuple[float, float] | None = None
    flops: float | None = None
    colour: int = 0


def learning_curves(
    arms: Mapping[str, Sequence[Curve]], levels: Levels, metric: str, colours: Mapping[str, int]
) -> Figure:
    """Validation metric over updates: mean over seeds, band from the lowest to the highest seed.

    Left the whole range between floor and ceiling; right the last stretch, where arms differ once they have learned.
    """
    with rc_context(style.STYLE):
        figure, axes = figure_row(3.4, columns=2, ratios=(1.0, 1.15))
        bands = {arm: band_of(curves) for arm, curves in arms.items()}
        for axis in axes:
            for arm, band in bands.items():
                draw_band(axis, band, colours[arm], len(arms))
            axis.set_xlabel("updates")
            axis.margins(x=0.02)
            plain_numbers(axis.xaxis)
        axes[0].set_ylabel(metric)
        axes[0].set_title("whole range")
        axes[1].set_title("the last stretch")
        ends = [(low[len(x) // 3 :].min(), high[len(x) // 3 :].max()) for _, low, high, x in bands.values() if len(x)]
        if ends:
            _zoom(axes[1], min(low for low, _ in ends), max(high for _, high in ends), levels, vertical=True)
            last = max(x[-1] for *_, x in bands.values() if len(x))
            axes[1].set_xlim(min(x[len(x) // 3] for *_, x in bands.values() if len(x)) - 0.02 * last, 1.02 * last)
        draw_levels(axes[0], levels, vertical=True)
        draw_levels(axes[1], levels, vertical=True, within=True)
        legend(figure, list(arms), [colours[arm] for arm in arms])
        return figure


def results(arms: Mapping[str, Estimate], levels: Levels, metric: str) -> Figure:
    """Mean and 95 % interval of each arm between floor and ceiling; small marks are the seeds. Right: enlarged."""
    with rc_context(style.STYLE):
        figure, axes = figure_row(1.25 + 0.42 * len(arms), columns=2, ratios=(1.0, 1.15))
        rows = np.arange(len(arms))[::-1]
        for axis in axes:
            for row, arm in zip(rows, arms.values(), strict=True):
                _estimate(axis, row, arm, arm.colour)
            axis.set_xlabel(metric)
            axis.set_ylim(-0.75, len(arms) - 0.35)
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0)
        axes[0].set_yticks(rows, [_wrapped(arm, 26) for arm in arms])
        axes[1].set_yticks(rows, [""] * len(arms))
        ends = [x for arm in arms.values() for x in (*arm.values, *(arm.interval or ()), arm.mean) if np.isfinite(x)]
        if ends:
            _zoom(axes[1], min(ends), max(ends), levels, vertical=False)
        lines = max(
            draw_levels(axes[0], levels, vertical=False), draw_levels(axes[1], levels, vertical=False, within=True)
        )
        for axis, title in zip(axes, ("whole range", "enlarged"), strict=True):
            axis.set_title(title, pad=8 + 10 * lines)  # points: above the names of the levels
        return figure


def differences(
    pairs: Sequence[tuple[str, float, tuple[float, float] | None]], matters: float | None, metric: str
) -> Figure:
    """Difference of each pair of arms with its 95 % interval; the grey zone holds differences too small to matter."""
    with rc_context(style.STYLE):
        figure, axes = figure_row(1.0 + 0.4 * len(pairs))
        axis, rows = axes[0], np.arange(len(pairs))[::-1]
        if matters:
            axis.axvspan(-matters, matters, color=style.GRID, alpha=0.7, linewidth=0, zorder=0)
        axis.axvline(0, color=style.MUTED, linewidth=1)
        for row, (_, difference, interval) in zip(rows, pairs, strict=True):
            if interval is not None:
                axis.plot(interval, (row, row), color=style.INK, linewidth=2.2, solid_capstyle="butt")
            axis.plot([difference], [row], "o", color=style.INK, markersize=6)
        axis.set_yticks(rows, [_wrapped(name, 34) for name, _, _ in pairs])
        axis.set_ylim(-0.7, len(pairs) - 0.3)
        axis.set_xlabel(f"difference in {metric}")
        axis.grid(axis="y", visible=False)
        axis.tick_params(axis="y", length=0)
        reach = [abs(bound) for _, difference, interval in pairs for bound in (interval or (difference,))]
        limit = 1.15 * max([*reach, matters or 0.0, 1e-9])
        axis.set_xlim(-limit, limit)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _signed(x)))
        return figure


def gate_maps(arms: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Mean gate of each head over refinement steps, one map for each arm and layer.

    Args:
        arms: gates [steps, layers, H] of one run of each arm.
    """
    maps = [
        (arm if gates.shape[1] == 1 else f"{arm}, layer {layer + 1}", gates[:, layer].T)
        for arm, gates in arms.items()
        for layer in range(gates.shape[1])
    ]
    columns = min(3, len(maps))
    lines = -(-len(maps) // columns)
    heads = max(values.shape[0] for _, values in maps)
    top = max(2.0, np.ceil(2 * max(float(values.max()) for _, values in maps)) / 2)
    with rc_context(style.STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(style.WIDTH, lines * (0.95 + 0.2 * heads)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(lines, columns, squeeze=False)
        norm, mesh = TwoSlopeNorm(1.0, vmin=0.0, vmax=top), None
        for axis in axes.flat[len(maps) :]:
            axis.set_visible(False)
        for axis, (title, values) in zip(axes.flat, maps, strict=False):
            mesh = axis.pcolormesh(values, cmap=style.GATE_COLOURS, norm=norm, edgecolors="none", linewidth=0)
            axis.set_title(_wrapped(title, 80 // columns - 2))
            axis.invert_yaxis()
            for side in axis.spines.values():
                side.set_visible(False)
            axis.tick_params(length=0)
            _centred_ticks(axis, steps=values.shape[1], heads=values.shape[0])
            axis.set_xlabel("refinement step")
            if values.size <= 96 and columns * values.shape[1] <= 24:
                _write_gates(axis, values, norm)
        for line in axes:
            line[0].set_ylabel("head")
        if mesh is not None:
            bar = figure.colorbar(mesh, ax=list(axes.flat), shrink=0.9, aspect=24, pad=0.015)
            bar.set_label("mean gate")
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=0)
            bar.set_ticks([0, 0.5, 1.0, (1 + top) / 2, top])
        return figure


def gate_entropy(arms: Mapping[str, Sequence[Curve]], colours: Mapping[str, int]) -> Figure:
    """Entropy of the gates over training as a share of its maximum: 1 uses all heads alike, 0 always the same one.

    Args:
        arms: the curves of each arm's seeds.
        colours: each arm's place in the report, which decides its colour.
    """
    with rc_context(style.STYLE):
        figure, axes = figure_row(2.7)
        axis = axes[0]
        for arm, curves in arms.items():
            draw_band(axis, band_of(curves), colours[arm], len(arms))
        axis.set_ylim(-0.03, 1.06)
        draw_levels(axis, Levels(others={"all heads\nalike": 1.0, "one head": 0.0}), vertical=True, within=True)
        axis.set_xlabel("updates")
        axis.set_ylabel("gate entropy / ln H")
        plain_numbers(axis.xaxis)
        legend(figure, list(arms), [colours[arm] for arm in arms])
        return figure


def losses(splits: Mapping[str, Sequence[Curve]]) -> Figure:
    """Training and validation loss of one run over updates."""
    with rc_context(style.STYLE):
        figure, axes = figure_row(2.6)
        for index, curves in enumerate(splits.values()):
            draw_band(axes[0], band_of(curves), index, len(splits))
        axes[0].set_xlabel("updates")
        axes[0].set_ylabel("loss")
        plain_numbers(axes[0].xaxis)
        legend(figure, list(splits))
        return figure


def efficiency(arms: Mapping[str, Estimate], levels: Levels, metric: str) -> Figure:
    """What an arm reaches against what one example costs it; further left and further up is better."""
    with rc_context(style.STYLE):
        figure, axes = figure_row(3.1)
        axis = axes[0]
        shown = {arm: (cost, estimate) for arm, estimate in arms.items() if (cost := estimate.flops)}
        for cost, estimate in shown.values():
            colour, marker = style.colour(estimate.colour), style.marker(estimate.colour)
            if estimate.interval is not None:
                axis.plot([cost, cost], estimate.interval, color=colour, linewidth=2.2, alpha=0.55)
            axis.plot([cost], [estimate.mean], marker, color=colour, markersize=8)
        costs = [cost for cost, _ in shown.values()]
        ends = [bound for _, e in shown.values() for bound in (*(e.interval or ()), e.mean)]
        if costs:
            axis.set_xscale("log")
            axis.set_xlim(min(costs) / 1.5, max(costs) * 1.5)
            _zoom(axis, min(ends), max(ends), levels, vertical=True)
            ticks = [
                t for d in range(3, 16) for m in (1, 2, 5) if min(costs) / 1.5 <= (t := m * 10**d) <= max(costs) * 1.5
            ]
            axis.set_xticks(ticks)
            axis.set_xticks([], minor=True)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: round_magnitude(x)))
        axis.set_xlabel("FLOPs per example, forward pass (log scale)")
        axis.set_ylabel(metric)
        draw_levels(axis, levels, vertical=True, within=True)
        legend(figure, list(shown), [estimate.colour for _, estimate in shown.values()], lines=False)
        return figure


def figure_row(height: float, columns: int = 1, ratios: Sequence[float] = (1.0,)) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(style.WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False, width_ratios=ratios)
    return figure, list(axes[0])


def band_of(curves: Sequence[Curve]) -> tuple[NDArray[np.float64], ...]:
    """A figure of the page's width with panels side by side; height in inches."""
    """Mean, lowest and highest over seeds at every update at which any seed was evaluated, and these updates."""
    known = [(np.asarray(x, float), np.asarray(y, float)) for x, y in curves if len(x)]
    if not known:
        return (np.empty(0),) * 4
    grid = np.unique(np.concatenate([x for x, _ in known]))
    # A seed that stopped early has no value after its end; before it, its neighbours are interpolated.
    rows = np.stack([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in known])
    return np.nanmean(rows, 0), np.nanmin(rows, 0), np.nanmax(rows, 0), grid


def draw_band(axis: Axes, band: tuple[NDArray[np.float64], ...], index: int, arms: int) -> None:
    mean, low, high, x = band
    if len(x):
        axis.fill_between(x, low, high, color=style.colour(index), alpha=0.16, linewidth=0)
        axis.plot(x, mean, color=style.colour(index), **style.marks(len(x), index, arms))


def _estimate(axis: Axes, row: float, arm: Estimate, index: int) -> None:
    """The mean over seeds as a line with the arm's colour and markers, and the band from lowest to highest."""
    colour, marker = style.colour(index), style.marker(index)
    if arm.interval is not None:
        axis.plot(arm.interval, (row, row), color=colour, linewidth=2.4, solid_capstyle="butt")
    axis.plot([arm.mean], [row], marker, color=colour, markersize=7)
    offsets = row - 0.27 + np.zeros(len(arm.values))
    axis.plot(arm.values, offsets, "|", color=colour, markersize=5, markeredgewidth=1.1, alpha=0.9)


def _zoom(axis: Axes, low: float, high: float, levels: Levels, vertical: bool) -> None:
    """Limits around the data, widened to a level that is near enough to be worth seeing."""
    span = max(high - low, 1e-3 * max(abs(low), abs(high), 1e-9))
    for _, level in levels.named():
        if low - 1.5 * span <= level <= high + 1.5 * span:
            low, high = min(low, level), max(high, level)
    margin = 0.12 * max(high - low, span)
    (axis.set_ylim if vertical else axis.set_xlim)(low - margin, high + margin)
    (axis.yaxis if vertical else axis.xaxis).set_major_locator(MaxNLocator(6))


def draw_levels(axis: Axes, levels: Levels, vertical: bool, within: bool = False) -> int:
    """A line and its name for each level; `within` leaves out those outside the limits already set.

    Returns:
        how many lines of text the tallest name takes.
    """
    bounds = axis.get_ylim() if vertical else axis.get_xlim()
    shown = [(n, v) for n, v in levels.named() if not within or min(bounds) <= v <= max(bounds)]
    if not within and shown:
        low, high = min(*bounds, *(v for _, v in shown)), max(*bounds, *(v for _, v in shown))
        margin = 0.06 * (high - low)
        bounds = (low - margin, high + margin)
        (axis.set_ylim if vertical else axis.set_xlim)(*bounds)
    for name, level in shown:
        dashes = (0, (4, 2)) if name in ("floor", "ceiling") else (0, (1.5, 1.5))
        line = axis.axhline if vertical else axis.axvline
        line(level, color=style.MUTED, linewidth=1.0, linestyle=dashes, zorder=1)
    # A name is a line high, but some 25 % of the frame wide
    named = _merged(shown, (0.07 if vertical else 0.25) * (max(bounds) - min(bounds)))
    for name, level in named:
        # Names stand outside the frame, right of it or above it, where no curve passes.
        text: Any = {"textcoords": "offset points", "fontsize": 8, "color": style.MUTED}
        if vertical:
            axis.annotate(name, (1, level), (4, 0), ("axes fraction", "data"), ha="left", va="center", **text)
        else:
            axis.annotate(name, (level, 1), (0, 3), ("data", "axes fraction"), ha="center", va="bottom", **text)
    return max((name.count("\n") + 1 for name, _ in named), default=0)


def _merged(levels: list[tuple[str, float]], nearest: float) -> list[tuple[str, float]]:
    """Names that would be printed over each other stand together, at the first one's level."""
    merged: list[tuple[str, float]] = []
    for name, level in levels:
        close = next((i for i, (_, other) in enumerate(merged) if abs(other - level) < nearest), None)
        if close is None:
            merged.append((name, level))
        else:
            merged[close] = (f"{merged[close][0]}\n{name}", merged[close][1])
    return merged


def legend(figure: Figure, names: Sequence[str], colours: Sequence[int] | None = None, lines: bool = True) -> None:
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
    """A legend above the plots, in as many columns as the names allow."""
    axis.set_major_formatter(FuncFormatter(lambda x, _: format_count(x)))  # type: ignore[attr-defined]
    axis.set_major_locator(MaxNLocator(5, integer=True))  # type: ignore[attr-defined]


def _wrapped(name: str, width: int) -> str:
    """Label an axis with whole numbers, thousands apart."""
    """A long label in several lines, broken behind its punctuation."""
    lines = [""]
    for part in re.split(r"(?<=[\s:,=.])", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def round_magnitude(x: float) -> str:
    digits, _, prefix = format_magnitude(x).partition(" ")
    return f"{float(digits):g} {prefix}".strip()


def _signed(x: float) -> str:
    """A number with a prefix and no superfluous zeros, for labels of an axis: 200 k."""
    return f"{x:+.4g}".replace("-", MINUS) if abs(x) > 1e-12 else "0"


def _centred_ticks(axis: Axes, steps: int, heads: int) -> None:
    every = max(1, -(-steps // 12))
    axis.set_xticks([i + 0.5 for i in range(0, steps, every)], [str(i + 1) for i in range(0, steps, every)])
    skip = max(1, -(-heads // 16))
    axis.set_yticks([i + 0.5 for i in range(0, heads, skip)], [str(i + 1) for i in range(0, heads, skip)])


def _write_gates(axis: Axes, values: NDArray[np.float64], norm: TwoSlopeNorm) -> None:
    for head, row in enumerate(values):
        for step, gate in enumerate(row):
            dark = not 0.16 < float(norm(gate)) < 0.86
            axis.text(step + 0.5, head + 0.5, f"{gate:.2f}", ha="center", va="center", fontsize=7.5,
                      color="#ffffff" if dark else "#1a1a1a")  # fmt: skip
