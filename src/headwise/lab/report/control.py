"""The page of a control: whether routing matters, the arms that say so, and what a wider FFN does in its place."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from headwise.lab import plot_style as style
from headwise.lab.control.conclusion import Evidence
from headwise.lab.formatting import format_quantity
from headwise.lab.outputs import CONTROL_ARMS, REPORT
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.comparison import comparison_page
from headwise.lab.report.control_tables import curve_rows, curve_titles, failures, left_out
from headwise.lab.report.descriptions import spaced
from headwise.lab.report.drawing import Levels, draw_levels, figure_row, legend
from headwise.lab.report.page import CaptionedTable, Page, Row, Table, numbers, picture

Plain = Mapping[str, Any]


def control_page(directory: Path, result: Plain) -> Page:
    """The page for the control in `directory`, whose control.json holds `result`: that of its arms, in short."""
    arms, curve = result["comparison"], result["curve"]
    page = comparison_page(directory / CONTROL_ARMS, arms)
    pictures = [picture("widths", captions.CURVE_TITLE, curve_figure(result), captions.WIDTH_CURVE)] if curve else []
    loop = f"All arms apply their blocks {format_quantity(result['steps'], 'time')}, but for those with settings of "
    return replace(
        page,
        title=f"{result['task']}: does routing matter?",
        kicker=f"A control on {result['task']}",
        headline=result["headline"],
        lead=[*result["lead"], captions.KNOWN if result["known"] else captions.CONTROLS],
        task=[*page.task, f"{loop}their own.", *(f"Not compared, {line}" for line in left_out(result))],
        result_figures=[*pictures, *page.result_figures],
        result_tables=[_curve_table(result)] if curve else [],
        failures=failures(result),
        training_figures=(),
        diagnosis=(),
        routing=None,
        routing_figures=(),
        metrics=None,
        analyses=(),
        caveats=[captions.CONTROL_SCOPE, *page.caveats],
        command=result["how"]["command"],
        how=[*page.how, ("arms by themselves", f"{CONTROL_ARMS}/{REPORT}")],
    )


def _curve_table(result: Plain) -> CaptionedTable:
    rows = [Row(row) for row in curve_rows(result)]
    return CaptionedTable("Width by width", Table(numbers(*curve_titles(result)), rows), captions.CURVE_COSTS)


def curve_figure(result: Plain) -> Figure:
    """Mean and 95 % interval over FFN width with and without a router, between floor and ceiling."""
    arms, curve = result["comparison"], result["curve"]
    oracle = Evidence(arms).oracle
    reached = None if oracle is None else number(arms["arms"][oracle]["mean"])
    levels = Levels(number(arms["floor"]), number(arms["ceiling"]), {} if reached is None else {str(oracle): reached})
    colours = {label: index for index, label in enumerate(arms["arms"])}
    labels = [curve[0]["pair"][side] for side in ("b", "a")]
    with rc_context(style.STYLE):
        figure, (axis,) = figure_row(3.2)
        for place, label in enumerate(labels):
            aside = 0.06 * (place - 0.5)  # so that neither covers the other
            points = [(x + aside, point["arms"][label]) for x, point in enumerate(curve)]
            known = [(x, arm) for x, arm in points if number(arm["mean"]) is not None]
            colour, marker = style.colour(colours[label]), style.marker(colours[label])
            axis.plot([x for x, _ in known], [arm["mean"] for _, arm in known], color=colour, marker=marker)
            for x, arm in known:
                if arm["interval"] is not None:
                    axis.plot([x] * 2, arm["interval"], color=colour, linewidth=1.4, alpha=0.7)
        axis.set_xticks(range(len(curve)), [str(point["ffn"]) for point in curve])
        axis.set_xlim(-0.5, len(curve) - 0.5)
        axis.set_xlabel("FFN width")
        axis.set_ylabel(spaced(arms["metric"]))
        draw_levels(axis, levels, vertical=True)
        legend(figure, labels, [colours[label] for label in labels])
        return figure
