"""Every plot of headwise: plain data in, a matplotlib figure out, in the style of `plot_style`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from headwise.lab import plot_style as style
from headwise.lab.report.drawing import (
    Curve,
    Levels,
    band_of,
    draw_band,
    draw_levels,
    draw_mean,
    figure_row,
    legend,
    plain_numbers,
    round_magnitude,
    signed,
    wrapped,
    zoom,
)


@dataclass(frozen=True)
class Estimate:
    """An arm's values over seeds, their mean and interval, what one example costs, and its colour's place."""

    values: Sequence[float]
    mean: float
    interval: tuple[float, float] | None = None
    flops: float | None = None
    colour: int = 0


ENLARGED = 0.6  # share of the whole range above which the second half of training is not drawn by itself


def learning_curves(
    arms: Mapping[str, Sequence[Curve]], levels: Levels, metric: str, colours: Mapping[str, int]
) -> Figure:
    """Validation metric over updates: mean over seeds, band from the lowest to the highest seed.

    Right of it, where that shows more, the second half enlarged, there with a thin line for each seed: arms that are
    close would be one band.
    """
    bands = {arm: band_of(curves) for arm, curves in arms.items()}
    low, high = _second_half(bands)
    whole = [float(end) for _, *ends, x in bands.values() if len(x) for end in (np.nanmin(ends), np.nanmax(ends))]
    whole += [level for _, level in levels.named()]
    enlarge = bool(whole) and high - low < ENLARGED * (max(whole) - min(whole))
    with rc_context(style.STYLE):
        figure, axes = figure_row(3.6, columns=1 + enlarge, ratios=(1.0, 1.15)[: 1 + enlarge])
        for axis in axes:
            axis.set_xlabel("updates")
            axis.margins(x=0.02)
            plain_numbers(axis.xaxis)
        axes[0].set_ylabel(metric)
        for arm, band in bands.items():
            draw_band(axes[0], band, colours[arm], len(arms))
        draw_levels(axes[0], levels, vertical=True)
        if enlarge:
            for arm, curves in arms.items():
                for x, y in curves if len(curves) > 1 else []:
                    axes[1].plot(x, y, color=style.colour(colours[arm]), linewidth=0.8, alpha=0.55)
                draw_mean(axes[1], bands[arm], colours[arm], len(arms))
            axes[0].set_title("whole range")
            axes[1].set_title("second half, enlarged")
            zoom(axes[1], low, high, levels, vertical=True)
            last = max(x[-1] for *_, x in bands.values() if len(x)) or 1  # nothing was trained
            axes[1].set_xlim(min(x[len(x) // 2] for *_, x in bands.values() if len(x)) - 0.02 * last, 1.02 * last)
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
        axes[0].set_yticks(rows, [wrapped(arm, 26) for arm in arms])
        axes[1].set_yticks(rows, [""] * len(arms))
        ends = [x for arm in arms.values() for x in (*arm.values, *(arm.interval or ()), arm.mean) if np.isfinite(x)]
        if ends:
            zoom(axes[1], min(ends), max(ends), levels, vertical=False)
        lines = max(
            draw_levels(axes[0], levels, vertical=False), draw_levels(axes[1], levels, vertical=False, within=True)
        )
        for axis, title in zip(axes, ("whole range", "enlarged"), strict=True):
            axis.set_title(title, pad=8 + 1.3 * style.SMALL * lines)  # points: above the names of the levels
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
        axis.set_yticks(rows, [wrapped(name, 34) for name, _, _ in pairs])
        axis.set_ylim(-0.7, len(pairs) - 0.3)
        axis.set_xlabel(f"difference in {metric}")
        axis.grid(axis="y", visible=False)
        axis.tick_params(axis="y", length=0)
        reach = [abs(bound) for _, difference, interval in pairs for bound in (interval or (difference,))]
        limit = 1.15 * max([*reach, matters or 0.0, 1e-9])
        axis.set_xlim(-limit, limit)
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: signed(x)))
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
            axis.set_title(wrapped(title, 80 // columns - 2))
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


def effective_heads(arms: Mapping[str, Sequence[Curve]], heads: int, colours: Mapping[str, int]) -> Figure:
    """Effective number of heads over training, from 1, always a single head, to all of them with equal gates.

    Args:
        arms: the curves of each arm's seeds.
        heads: of a layer.
        colours: each arm's place in the report, which decides its colour.
    """
    with rc_context(style.STYLE):
        figure, axes = figure_row(2.8)
        axis = axes[0]
        for arm, curves in arms.items():
            draw_band(axis, band_of(curves), colours[arm], len(arms))
        axis.set_ylim(0.8, heads + 0.2)
        draw_levels(axis, Levels(others={"all heads alike": float(heads), "one head": 1.0}), vertical=True, within=True)
        axis.set_xlabel("updates")
        axis.set_ylabel("effective heads")
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
            zoom(axis, min(ends), max(ends), levels, vertical=True)
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


def _second_half(bands: Mapping[str, tuple[NDArray[np.float64], ...]]) -> tuple[float, float]:
    """Lowest and highest value of any seed in the second half of training; (0, 0) where there are none."""
    halves = [(low[len(x) // 2 :], high[len(x) // 2 :]) for _, low, high, x in bands.values() if len(x)]
    if not halves:
        return 0.0, 0.0
    return float(min(np.nanmin(low) for low, _ in halves)), float(max(np.nanmax(high) for _, high in halves))


def _estimate(axis: Axes, row: float, arm: Estimate, index: int) -> None:
    """Mean, interval and the seeds of one arm, in a row of its own."""
    colour, marker = style.colour(index), style.marker(index)
    if arm.interval is not None:
        axis.plot(arm.interval, (row, row), color=colour, linewidth=2.4, solid_capstyle="butt")
    axis.plot([arm.mean], [row], marker, color=colour, markersize=7)
    offsets = row - 0.27 + np.zeros(len(arm.values))
    axis.plot(arm.values, offsets, "|", color=colour, markersize=5, markeredgewidth=1.1, alpha=0.9)


def _centred_ticks(axis: Axes, steps: int, heads: int) -> None:
    every = max(1, -(-steps // 12))
    axis.set_xticks([i + 0.5 for i in range(0, steps, every)], [str(i + 1) for i in range(0, steps, every)])
    skip = max(1, -(-heads // 16))
    axis.set_yticks([i + 0.5 for i in range(0, heads, skip)], [str(i + 1) for i in range(0, heads, skip)])


def _write_gates(axis: Axes, values: NDArray[np.float64], norm: TwoSlopeNorm) -> None:
    for head, row in enumerate(values):
        for step, gate in enumerate(row):
            ink = style.readable_on(style.GATE_COLOURS(float(norm(gate))))
            axis.text(step + 0.5, head + 0.5, f"{gate:.2f}", ha="center", va="center", fontsize=style.SMALL, color=ink)
