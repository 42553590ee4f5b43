"""The page of an out-of-distribution test: for each axis a table and a plot, at each point a verdict between arms."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headwise.lab import plot_style as style
from headwise.lab.formatting import MISSING, format_metric, format_percent, join_words
from headwise.lab.names import left_out as left_out_of_names
from headwise.lab.names import with_short_names
from headwise.lab.records import number, readable_mapping
from headwise.lab.report import captions
from headwise.lab.report.comparison import BADGES
from headwise.lab.report.descriptions import describe_arm, describe_task, spaced
from headwise.lab.report.drawing import figure_row, legend
from headwise.lab.report.ood_tables import SIGNS, cell, left_out, measured, value_of
from headwise.lab.report.page import CaptionedTable, Column, Page, PairVerdict, Picture, Row, Table, numbers, picture
from headwise.lab.report.page_tables import pair_note, pair_table, run_facts
from headwise.training.files import SUMMARY

Plain = Mapping[str, Any]


def ood_page(result: Plain) -> Page:
    """The page for the out-of-distribution test whose ood.json holds `result`."""
    shared, result = left_out_of_names(list(result["arms"])), with_short_names(result)
    arms, axes = list(result["arms"]), result["axes"]
    points = [(f"{spaced(name)} {point['label']}", point) for name, axis in axes.items() for point in measured(axis)]
    pairs = [(place, pair) for place, point in points if not point["is_neutral"] for pair in point["pairs"]]
    decided_first = sorted(pairs, key=lambda one: one[1]["kind"] not in SIGNS)
    sources = [
        readable_mapping(Path(one) / SUMMARY).get("headwise")
        for arm in result["arms"].values()
        for one in arm["directories"]
    ]
    trained = any(axis["of"] == "training" for axis in axes.values())
    where = "with few training examples" if trained else "outside the distribution trained on"
    return Page(
        title=f"{result['task']}: {where}",
        kicker=f"{join_words(arms)} {where}, {result['task']}",
        headline=result["headline"],
        lead=result["lead"],
        banner=captions.QUICK if result.get("quick") else "",
        tiles=[
            ("measured in", spaced(result["metric"])),
            ("axes", str(len(axes))),
            ("points", str(len(points))),
            ("paired seeds", str(len(result["seeds"]))),
        ],
        task=[
            describe_task(result["task"], result.get("task_summary") or "", result["task_config"]),
            captions.FEW_EXAMPLES if trained else captions.NOT_TRAINED_AGAIN,
            *([shared] if shared else []),
        ],
        arms=Table(
            [Column("arm", number=False), Column("what it is", number=False)],
            [
                Row([label, describe_arm(arm["arm"], arm["model"])], n)
                for n, (label, arm) in enumerate(result["arms"].items())
            ],
        ),
        results=_least_kept(result),
        result_notes=[captions.LEAST_KEPT.format(score=result["score"]), *result["left_out"], *result["notes"]],
        result_figures=[_picture(result, name, axis) for name, axis in axes.items()],
        result_tables=[_table(result, name, axis) for name, axis in axes.items()],
        pairs=[
            PairVerdict(p["kind"], BADGES.get(p["kind"], ""), f"{place}: {p['verdict']}") for place, p in decided_first
        ],
        pair_numbers=pair_table([(f"{place}: ", pair) for place, pair in pairs]),
        pair_note=f"{captions.POINTS_FAMILY} {pair_note([pair for _, pair in pairs])}",
        caveats=[captions.OOD_SCOPE],
        command=result["how"]["command"],
        how=run_facts(result["how"], result["seeds"], sources),
        settings=json.dumps({"task": result["task_config"], "settings": result["settings"]}, indent=2),
    )


def _least_kept(result: Plain) -> Table:
    """A row for each axis: what each arm keeps at its worst point."""
    rows = []
    for name, axis in result["axes"].items():
        cells = []
        for label in result["arms"]:
            kept = [
                (share, point["label"])
                for point in axis["points"]
                if not point["is_neutral"] and (share := number(point["arms"][label]["kept"])) is not None
            ]
            least = min(kept, default=None)
            cells.append(MISSING if least is None else f"{format_percent(least[0])} at {least[1]}")
        rows.append(Row([spaced(name), *cells]))
    return Table(numbers("axis", *result["arms"]), rows)


def _table(result: Plain, name: str, axis: Plain) -> CaptionedTable:
    titles = [
        spaced(name),
        "floor",
        "ceiling",
        *(f"{label}{more}" for label in result["arms"] for more in ("", " keeps")),
    ]
    rows = []
    for point in measured(axis):
        ends = [format_metric(number(point[end])) for end in ("floor", "ceiling")]
        arms = [text for label in result["arms"] for text in cell(point["arms"][label])]
        rows.append(Row([value_of(point), *ends, *arms]))
    said = " ".join([f"{axis['about'][:1].upper()}{axis['about'][1:]}.", *(f"{line}." for line in left_out(axis))])
    return CaptionedTable(f"{spaced(name).capitalize()}, point by point", Table(numbers(*titles), rows), said)


def _picture(result: Plain, name: str, axis: Plain) -> Picture:
    return picture(f"axis-{name}", spaced(name).capitalize(), axis_figure(result, name, axis), captions.AXIS)


def axis_figure(result: Plain, name: str, axis: Plain) -> Figure:
    """Left each arm with its interval between floor and ceiling of each test set, right what it keeps. Values that are
    words have no order, and no line between them."""
    points, labels = measured(axis), list(result["arms"])
    with rc_context(style.STYLE):
        figure, (scores, shares) = figure_row(3.2, columns=2, ratios=(1.0, 1.0))
        for end in ("floor", "ceiling"):
            known = [(x, level) for x, point in enumerate(points) if (level := number(point[end])) is not None]
            scores.plot(*_columns(known), color=style.MUTED, linewidth=1.0, linestyle=(0, (4, 2)), marker="_")
            if known:
                place = (len(points) - 0.45, known[-1][1])  # right of the frame
                scores.annotate(end, place, va="center", color=style.MUTED, fontsize=style.SMALL, annotation_clip=False)
        for index, label in enumerate(labels):
            aside = 0.06 * (index - (len(labels) - 1) / 2)  # so that none covers another
            own = [(x + aside, point["arms"][label]) for x, point in enumerate(points)]
            for panel, key in ((scores, "mean"), (shares, "kept")):
                reached = [(x, value) for x, arm in own if (value := number(arm[key])) is not None]
                in_order = [one for one in reached if not isinstance(points[round(one[0])]["value"], str)]
                panel.plot(*_columns(reached), color=style.colour(index), marker=style.marker(index), linestyle="none")
                panel.plot(*_columns(in_order), color=style.colour(index))
            for x, arm in own:
                if arm["interval"] is not None:
                    scores.plot([x] * 2, arm["interval"], color=style.colour(index), linewidth=1.4, alpha=0.7)
        _frame(scores, name, points, spaced(result["metric"]))
        _frame(shares, name, points, f"kept of the {result['score']}")
        shares.axhline(1, color=style.MUTED, linewidth=1.0)
        shares.set_ylim(bottom=min(0.0, shares.get_ylim()[0]), top=max(1.1, shares.get_ylim()[1]))
        legend(figure, labels)
        return figure


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _frame(axis: Axes, name: str, points: Sequence[Plain], what: str) -> None:
    axis.set_xticks(range(len(points)), [value_of(point)[-16:] for point in points])
    axis.set_xlim(-0.5, len(points) - 0.5)
    axis.set_xlabel(spaced(name))
    axis.set_ylabel(what)
