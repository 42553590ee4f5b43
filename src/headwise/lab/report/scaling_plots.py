"""The plots of a scaling: metrics against parameters, and the advantage over the first arm at each size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from headwise.lab import plot_style as style
from headwise.lab.report.drawing import Levels, draw_levels, figure_row, legend, round_magnitude

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Point:
    """An arm at one size: parameters, mean over seeds of a metric, and its interval."""

    parameters: float
    mean: float
    interval: Interval = None


@dataclass(frozen=True)
class Panel:
    """One metric: what it is called, what gives it its meaning, and the points of each arm, smallest first."""

    metric: str
    arms: Mapping[str, Sequence[Point]]
    levels: Levels = field(default_factory=Levels)


@dataclass(frozen=True)
class Gap:
    """How much better than the first arm in one metric: by arm and size, with an interval."""

    metric: str
    arms: Mapping[str, Mapping[str, tuple[float, Interval]]]


def against_parameters(panels: Sequence[Panel], colours: Mapping[str, int]) -> Figure:
    """A panel for each metric: mean over seeds of each arm over its parameters, on a log scale."""
    with rc_context(style.STYLE):
        figure, axes = figure_row(3.4, columns=len(panels), ratios=(1.0,) * len(panels))
        for axis, panel in zip(axes, panels, strict=True):
            axis.set_xscale("log")
            for place, (label, points) in enumerate(panel.arms.items()):
                _draw_points(axis, points, colours[label], 1.03 ** (place - (len(panel.arms) - 1) / 2))
            axis.set_ylim(*_range(panel))
            counts = sorted({point.parameters for points in panel.arms.values() for point in points})
            if counts:
                axis.set_xlim(counts[0] / 1.6, counts[-1] * 1.6)
                axis.set_xticks(_apart(counts))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: round_magnitude(x)))
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel("parameters (log scale)")
            axis.set_ylabel(panel.metric)
            draw_levels(axis, panel.levels, vertical=True)
        legend(figure, list(colours), list(colours.values()))
        return figure


def advantages(gaps: Sequence[Gap], sizes: Sequence[str], first: str, colours: Mapping[str, int]) -> Figure:
    """A panel for each metric: bars up where an arm is better than the first one, one group for each size."""
    with rc_context(style.STYLE):
        figure, axes = figure_row(3.0, columns=len(gaps), ratios=(1.0,) * len(gaps))
        for axis, gap in zip(axes, gaps, strict=True):
            width = 0.7 / max(len(gap.arms), 1)
            for index, (label, by_size) in enumerate(gap.arms.items()):
                offset = (index - (len(gap.arms) - 1) / 2) * width
                for place, size in enumerate(sizes):
                    if size in by_size:
                        height, interval = by_size[size]
                        axis.bar(place + offset, height, 0.9 * width, color=style.colour(colours[label]))
                        if interval is not None:
                            axis.plot([place + offset] * 2, interval, color=style.INK, linewidth=1.4)
            axis.axhline(0, color=style.MUTED, linewidth=1)
            axis.set_xticks(range(len(sizes)), list(sizes))
            axis.set_xlim(-0.6, len(sizes) - 0.4)
            axis.tick_params(axis="x", length=0)
            axis.grid(axis="x", visible=False)
            axis.set_ylabel(f"{gap.metric}: ahead of {first}")
        arms = [label for label in colours if label != first]
        legend(figure, arms, [colours[label] for label in arms], lines=False)
        return figure


def _draw_points(axis: Axes, points: Sequence[Point], colour: int, aside: float) -> None:
    """An arm's points and intervals, a little aside, as matched arms would cover each other."""
    x, y = [point.parameters * aside for point in points], [point.mean for point in points]
    axis.plot(x, y, color=style.colour(colour), marker=style.marker(colour), markersize=6)
    for place, point in zip(x, points, strict=True):
        if point.interval is not None:
            axis.plot([place] * 2, point.interval, color=style.colour(colour), linewidth=1.4, alpha=0.7)


def _range(panel: Panel) -> tuple[float, float]:
    """Where all means, floor and ceiling are seen; the interval of two or three seeds may be far wider."""
    seen = [point.mean for points in panel.arms.values() for point in points]
    seen += [level for _, level in panel.levels.named()]
    margin = 0.12 * max(max(seen) - min(seen), 1e-3 * max(map(abs, seen)), 1e-9)
    return min(seen) - margin, max(seen) + margin


def _apart(counts: Sequence[float]) -> list[float]:
    """Those of numbers in order that can be labelled on a log axis: a sixth of its length above the one before."""
    kept: list[float] = []
    least = max(1.33, (counts[-1] / counts[0] * 1.6**2) ** (1 / 6))
    for count in counts:
        if not kept or count > least * kept[-1]:
            kept.append(count)
    return kept
