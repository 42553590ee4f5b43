"""The page of a study of choices of heads: what fewer heads cost, by how they are chosen."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from headwise.lab import plot_style as style
from headwise.lab.formatting import (
    MISSING,
    format_decimal,
    format_difference,
    format_interval_of_difference,
    format_metric,
    format_percent,
    format_quantity,
)
from headwise.lab.records import number
from headwise.lab.report.drawing import figure_row, legend
from headwise.lab.report.page import CaptionedTable, Column, Page, Picture, Row, Table, numbers, picture
from headwise.lab.report.page_tables import source_facts

Plain = Mapping[str, Any]
ONCE, ROUTER = "once", "router in closed form"
MEANINGS = {
    "mean contribution": "the heads that add most to their layer on the calibration text, the same at every token",
    "gate gradient": "the heads whose gates the loss depends on most there, the same at every token",
    "second order": "the heads whose absence would cost most there, by two derivatives, the same at every token",
    "little by little": "the same, but a twentieth of all heads is left out at a time, and the rest is measured again",
    "chance": "heads at random at every token",
    ROUTER: "at every token, by a linear map of the layer's input, fitted in closed form to what the heads add",
    "oracle": "at every token, by what the heads really add there, which nothing knows before they are computed",
}
COUNTED = {
    "per layer": "each layer keeps as many heads",
    "over layers": "one threshold for all layers, so that layers where heads say more keep more",
}
COST = (
    "What is added to the untouched model's cost, with 95 % intervals over {what}; below zero the model is better with "
    "fewer heads. The ratio is to the cheapest choice made once, which is picked on these very examples."
)
LINES = "Left: each layer keeps as many heads; right: one threshold for all layers. Dashed: chosen once."
NO_TIME = "Every head was computed and then gated: this says what fewer heads cost, not what they save."
NO_BOUND = "The oracle is no bound: it knows what a head adds, not whether that helps."


def choices_page(result: Plain) -> Page:
    """The page for the content of choices.json."""
    settings, unit = result["settings"], result["unit"]
    first = next(iter(result["tables"].values()))
    names = dict.fromkeys(row["choice"] for row in first["rows"])
    drawn = settings["seeds"]
    what = "examples" if drawn == 1 else f"examples and {format_quantity(drawn, 'draw')} of the calibration text"
    return Page(
        title=f"{settings['model']}: choosing heads",
        kicker=f"{settings['model']} with fewer heads, nothing trained",
        headline=headline(result),
        lead=[],
        tiles=[
            ("untouched", f"{format_metric(number(first['untouched']))} {unit}"),
            ("examples", str(first["examples"])),
            ("draws", str(drawn)),
            *_explained(result["fits"]),
        ],
        task_title="What was measured",
        task=[
            f"Choices made from {settings['calibration']} examples of {settings['calibrate']}, scored on "
            f"{format_quantity(first['examples'], 'example')} of {settings['text']}"
            + (f" and of {settings['other']}." if settings["other"] else "."),
            *(f"Counted {key}: {value}." for key, value in COUNTED.items()),
        ],
        arms=Table(
            [Column("chosen by", number=False), Column("what it is", number=False)],
            [Row([name, MEANINGS.get(name, "")]) for name in names],
        ),
        results=table(first, unit),
        result_notes=[COST.format(what=what)],
        result_figures=[
            _picture(where, settings[where], found["rows"], unit) for where, found in result["tables"].items()
        ],
        result_tables=[
            CaptionedTable(f"On {settings[where]}", table(found, unit), COST.format(what=what))
            for where, found in list(result["tables"].items())[1:]
        ],
        caveats=[NO_TIME, NO_BOUND],
        how=source_facts([result.get("provenance")]),
        settings=json.dumps(settings, indent=2),
    )


def headline(result: Plain) -> str:
    """The best choice at each token that could be made, against the best made once, in a sentence."""
    rows = next(iter(result["tables"].values()))["rows"]
    own = [row for row in rows if row["choice"] == ROUTER]
    if not own:
        return "What fewer heads cost, by how they are chosen"
    best = min(own, key=lambda row: row.get("share_of_best_static") or float("inf"))
    fixed = min(row["added"] for row in rows if row["keep"] == best["keep"] and row["when"] == ONCE)
    return (
        f"With {best['keep']} heads a router per token adds {format_difference(best['added'])} {result['unit']}, the "
        f"best fixed choice {format_difference(fixed)}"
    )


def table(found: Plain, unit: str) -> Table:
    """A row for each way at each number of heads."""
    titles = numbers("heads", f"{unit} added", "95 %", "difference to the best made once", "ratio", "heads on")
    words = [Column(title, number=False) for title in ("chosen by", "when", "counted")]
    rows = [
        Row(
            [
                str(row["keep"]),
                row["choice"],
                row["when"],
                row["counted"],
                format_difference(row["added"], signed=True),
                _interval(row["interval"]),
                _interval(row.get("difference_interval")),
                MISSING if (ratio := row.get("share_of_best_static")) is None else format_decimal(ratio, 2),
                format_percent(row["on"]),
            ]
        )
        for row in found["rows"]
    ]
    return Table([titles[0], *words, *titles[1:]], rows)


def _picture(where: str, text: str, rows: Sequence[Plain], unit: str) -> Picture:
    return picture(f"choices-{where}", f"What fewer heads cost on {text}", _drawn(rows, unit), LINES)


def _drawn(rows: Sequence[Plain], unit: str) -> Figure:
    names = list(dict.fromkeys(row["choice"] for row in rows))
    counted = list(dict.fromkeys(row["counted"] for row in rows))
    with rc_context(style.STYLE):
        figure, axes = figure_row(3.2, len(counted), [1.0] * len(counted))
        for axis, how in zip(axes, counted, strict=True):
            own = sorted((row for row in rows if row["counted"] == how), key=lambda row: names.index(row["choice"]))
            for name, points in groupby(own, key=lambda row: row["choice"]):
                line = sorted(points, key=lambda row: row["keep"])
                dashed = "--" if line[0]["when"] == ONCE else "-"
                place = names.index(name)
                xs, ys = [row["keep"] for row in line], [row["added"] for row in line]
                axis.plot(xs, ys, dashed, color=style.colour(place), **style.marks(len(xs), place, len(names)))
            axis.axhline(0, color=style.MUTED, linewidth=0.8)
            axis.set_title(how)
            axis.set_xlabel("heads kept, on average")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel(f"{unit} added")
        legend(figure, names)
        return figure


def _explained(fits: Mapping[str, Plain]) -> list[tuple[str, str]]:
    found = [value for fit in fits.values() if (value := number(fit.get("r2_mean"))) is not None]
    return [("variance explained", format_percent(sum(found) / len(found)))] if found else []


def _interval(bounds: Sequence[float] | None) -> str:
    return MISSING if bounds is None else format_interval_of_difference(bounds)
