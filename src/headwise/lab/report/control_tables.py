"""A control in a terminal: the sentence, the arms, and the curve over FFN width."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from headwise.lab.control.conclusion import Evidence
from headwise.lab.formatting import (
    format_confidence,
    format_count,
    format_difference,
    format_interval_of_difference,
    format_magnitude,
    format_metric,
    format_p,
)
from headwise.lab.outputs import REPORT
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.tables import comparison_table, verdicts
from headwise.lab.statistics import CONFIDENCE

Plain = Mapping[str, Any]


def control_text(result: Plain) -> list[RenderableType]:
    """What to print of control.json, one after the other; the sentence stands last, where it is seen."""
    comparison = result["comparison"]
    parts: list[RenderableType] = [comparison_table(comparison)]
    parts += [Text(line, style="red") for line in failures(result)]
    parts.append(verdicts(Evidence(comparison).deciding))
    if result["curve"]:
        parts += ["", curve_table(result), Text(captions.CURVE_COSTS, style="dim")]
    parts += [Text(line, style="dim") for line in left_out(result)]
    parts += ["", *(Text(line) for line in result["lead"]), Text(result["headline"], style="bold")]
    return [*parts, Text(f"\nreport: {Path(result['directory']) / REPORT}")]


def curve_titles(result: Plain) -> list[str]:
    """Columns of the curve: the FFN width, both arms, their difference, and what each costs."""
    a, b = result["curve"][0]["pair"]["a"], result["curve"][0]["pair"]["b"]
    difference = ["difference", "interval", "of", "p Holm"]
    return ["FFN", b, a, *difference, f"parameters {b}", f"{a}", f"FLOPs/example {b}", f"{a}"]


def curve_rows(result: Plain) -> Iterator[list[str]]:
    """A row for each width."""
    for point in result["curve"]:
        pair = point["pair"]
        arms = [point["arms"][pair[side]] for side in ("b", "a")]
        yield [
            str(point["ffn"]),
            *(format_metric(number(arm["mean"])) for arm in arms),
            format_difference(number(pair["difference"]), signed=True),
            format_interval_of_difference(pair["interval"]),
            format_confidence(number(pair.get("confidence")) or CONFIDENCE),
            format_p(pair["p_holm"]),
            *(format_count(arm["parameters"]) for arm in arms),
            *(format_magnitude(number(arm["flops_per_example"])) for arm in arms),
        ]


def curve_table(result: Plain) -> Table:
    """Each FFN width, with and without a router."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left")
    table.title = "With and without a router, by FFN width"
    for title in curve_titles(result):
        table.add_column(escape(title), justify="right")
    for row in curve_rows(result):
        table.add_row(*row)
    return table


def failures(result: Plain) -> list[str]:
    """Runs of the arms, and of the curve, that failed."""
    parts = {"": result["comparison"]["arms"]} | {f"FFN {point['ffn']} ": point["arms"] for point in result["curve"]}
    return [
        f"{where}{label}, seed {seed} failed: {error}"
        for where, arms in parts.items()
        for label, arm in arms.items()
        for seed, error in arm["failures"].items()
    ]


def left_out(result: Plain) -> list[str]:
    """The arms that the task refuses, each with its reason."""
    return [f"without {label}: {reason}" for label, reason in result["left_out"].items()]
