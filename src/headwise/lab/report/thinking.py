"""The page of a run that thinks longer: accuracy against compute for each selection, and the run step by step."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from headwise.lab import plot_style as style
from headwise.lab.formatting import (
    MISSING,
    format_interval_of_difference,
    format_magnitude,
    format_metric,
    format_percent,
    format_quantity,
    format_short,
)
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.descriptions import describe_arm, describe_task, spaced
from headwise.lab.report.drawing import figure_row, round_magnitude
from headwise.lab.report.page import CaptionedTable, Column, Page, Picture, Row, Table, numbers, picture
from headwise.lab.report.page_tables import run_facts
from headwise.lab.report.thinking_table import describe_noise, row, titles
from headwise.lab.thinking.selection import ABOUT, RULES

Plain = Mapping[str, Any]
PANELS = 3  # beside each other
SHOWN = 16  # rows of the table over steps


def thinking_page(result: Plain) -> Page:
    """The page for the content of thinking.json."""
    arm, study, trained = result["arm"], result["study"], result["trained"]
    steps = trained["steps"] * trained["segments"]
    segments = f" in {trained['segments']} segments" if trained["segments"] > 1 else ""
    return Page(
        title=f"{arm['label']} on {result['task']}: thinking longer",
        kicker=f"{arm['label']} with more steps and restarts, {result['task']}",
        headline=result["headline"],
        lead=[] if study is None else study["sentences"],
        banner=captions.QUICK if result.get("quick") else "",
        tiles=[
            ("measured in", spaced(result["metric"])),
            ("trained with", f"{format_quantity(steps, 'step')}{segments}"),
            ("test examples", str(result["examples"])),
            ("floor", format_metric(number(result["floor"]))),
            ("ceiling", format_metric(number(result["ceiling"]))),
        ],
        task_title="What was measured",
        task=[
            describe_task(result["task"], result.get("task_summary") or "", result["task_config"]),
            f"The run {result['run']} (seed {result['seed']}): {describe_arm(arm['arm'], arm['model'])}.",
            f"{captions.RESTARTS} Here: {describe_noise(result)}.",
        ],
        arms=Table(
            [Column("selected by", number=False), Column("what is taken", number=False)],
            [Row([rule, ABOUT[rule]], _colour(rule)) for rule in result["rules"]],
        ),
        results=Table(numbers(*titles(result)), [Row(row(result, point)) for point in result["points"]]),
        result_notes=[captions.NOT_CHOSEN, captions.BOUNDS],
        result_figures=[
            picture("compute", "Accuracy against compute", compute_figure(result), captions.COMPUTE),
            *_followed(study),
        ],
        result_tables=[*_gains(result), *([] if study is None else [_steps(study)])],
        caveats=[captions.ONE_RUN],
        command=result["how"]["command"],
        how=run_facts(result["how"], [result["seed"]], [result["headwise"]]),
        settings=json.dumps(
            {key: result[key] for key in ("task_config", "arm", "settings", "noise", "noise_every")}, indent=2
        ),
    )


def compute_figure(result: Plain) -> Figure:
    """A panel for each number of steps: over compute the band from a random restart to the best, a line a rule."""
    depths = list(dict.fromkeys(point["steps"] for point in result["points"]))
    rows = -(-len(depths) // PANELS)
    columns = min(len(depths), PANELS)
    with rc_context(style.STYLE):
        figure = figure_row(2.9 * rows)[0]
        figure.clear()
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for place, steps in enumerate(depths):
            own = [point for point in result["points"] if point["steps"] == steps]
            _panel(axes[place // columns][place % columns], own, result)
        for place in range(len(depths), rows * columns):
            axes[place // columns][place % columns].set_axis_off()
        axes[0][0].set_xscale("log")
        _log_labels(axes[0][0].xaxis, round_magnitude)
        for line in axes:
            line[0].set_ylabel(spaced(result["metric"]))
        for axis in axes[-1]:
            axis.set_xlabel("FLOPs an example")
        handles: list[Any] = [
            Line2D([], [], color=style.colour(_colour(rule)), marker=style.marker(_colour(rule)), markersize=5)
            for rule in result["rules"]
        ]
        band = Patch(color=style.MUTED, alpha=0.18)
        figure.legend(
            [*handles, band],
            [*result["rules"], "from a random restart to the best of all"],
            loc="outside upper left",
            ncols=5,
            fontsize=9,
        )
        return figure


def _panel(axis: Axes, points: Sequence[Plain], result: Plain) -> None:
    compute = [point["flops"] for point in points]
    random, best = ([_or_nan(point[end]) for point in points] for end in ("random", "best"))
    axis.fill_between(compute, random, best, color=style.MUTED, alpha=0.18, linewidth=0)
    axis.plot(compute, random, color=style.MUTED, linewidth=1.0)
    for rule in result["rules"]:
        line = [_or_nan(point["selected"][rule]) for point in points]
        axis.plot(compute, line, color=style.colour(_colour(rule)), marker=style.marker(_colour(rule)), markersize=4.5)
    axis.set_title(f"{points[0]['label']}: {format_quantity(points[0]['steps'], 'step')}")


def _followed(study: Plain | None) -> list[Picture]:
    if study is None or len(study["step"]) < 2:
        return []
    with rc_context(style.STYLE):
        figure, (moved, shares) = figure_row(3.0, columns=2, ratios=(1.0, 1.0))
        moved.plot(study["step"], [_or_nan(value) for value in study["residual"]], color=style.colour(1))
        if all(value and value > 0 for value in study["residual"]):
            moved.set_yscale("log")
            _log_labels(moved.yaxis, format_percent)
        moved.set_ylabel("moved, of the state's length")
        lines = [("right", "right"), ("overthought", "right before, wrong now"), ("changed", "answer changed")]
        for place, (key, name) in enumerate(lines):
            if study[key] is not None:
                values = [_or_nan(value) for value in study[key]]
                marks = style.marks(len(values), place, len(lines))
                shares.plot(study["step"], values, color=style.colour(place + 1), label=name, **marks)
        shares.set_ylabel("share of the examples")
        shares.set_ylim(0, 1.02)
        figure.legend(loc="outside upper right", ncols=3, fontsize=9)
        for axis in (moved, shares):
            axis.set_xlabel("step")
            axis.axvline(study["trained"], color=style.MUTED, linewidth=1.0, linestyle=(0, (4, 2)))
        return [picture("followed", "Step by step", figure, captions.FOLLOWED)]


def _log_labels(axis: Any, text: Callable[[float], str]) -> None:
    """Few labels, in words of ours: matplotlib's are mathematics, which these plots do not set."""
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_formatter(NullFormatter())


def _gains(result: Plain) -> list[CaptionedTable]:
    several = [point for point in result["points"] if point["restarts"] > 1]
    if not several:
        return []
    rows = [
        Row(
            [
                f"{point['label']}, {point['restarts']} restarts",
                format_magnitude(point["flops"]),
                *(format_interval_of_difference(point["gain_interval"].get(rule)) for rule in result["rules"]),
            ]
        )
        for point in several
    ]
    return [
        CaptionedTable(
            "What a selection gains", Table(numbers("steps", "FLOPs", *result["rules"]), rows), captions.GAINS
        )
    ]


def _steps(study: Plain) -> CaptionedTable:
    """About so many of the steps, the first, the last and that of training among them."""
    last = len(study["step"]) - 1
    places = {round(place * last / (SHOWN - 1)) for place in range(SHOWN)}
    places |= {place for place, step in enumerate(study["step"]) if step == study["trained"]}
    rows = []
    for place in sorted(places):
        shares = [study[key][place] for key in ("right", "overthought")]
        shares.append(study["changed"] and study["changed"][place])
        cells = [MISSING if (value := number(share)) is None else format_percent(value) for share in shares]
        mark = "*" if study["step"][place] == study["trained"] else ""
        moved = number(study["residual"][place])
        rows.append(Row([f"{study['step'][place]}{mark}", MISSING if moved is None else _residual(moved), *cells]))
    head = numbers("step", "moved", "right", "right before, wrong now", "answer changed")
    return CaptionedTable("Step by step", Table(head, rows), captions.FOLLOWED)


def _residual(moved: float) -> str:
    return format_short(moved) if moved >= 1 else format_percent(moved)


def _colour(rule: str) -> int:
    """A rule's colour: the first is that of references, and left to them."""
    return 1 + list(RULES).index(rule)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
