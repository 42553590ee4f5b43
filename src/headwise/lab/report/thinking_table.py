"""A run that thinks longer, in a terminal: steps by restarts by selection, and whether it converges."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headwise.lab.formatting import format_magnitude, format_metric
from headwise.lab.outputs import REPORT
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.descriptions import spaced

Plain = Mapping[str, Any]


def thinking_text(result: Plain) -> list[RenderableType]:
    """What to print of thinking.json, one after the other."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left")
    table.title = (
        f"{spaced(result['metric'])} of {result['arm']['label']} on {result['task']}, {describe_noise(result)}"
    )
    for title in titles(result):
        table.add_column(Text(title), justify="right", no_wrap=True)
    for point in result["points"]:
        table.add_row(*row(result, point))
    parts: list[RenderableType] = [Text(f"\n{result['headline']}.", style="bold"), "", table]
    parts += [Text(captions.QUICK, style="yellow")] if result.get("quick") else []
    if result["study"] is not None:
        parts += [Text(line) for line in result["study"]["sentences"]]
    parts += [Text(captions.NOT_CHOSEN, style="dim")]
    return [*parts, Text(f"\nreport: {Path(result['directory']) / REPORT}")]


def titles(result: Plain) -> list[str]:
    """The columns of the table."""
    return ["steps", "restarts", "FLOPs", "at random", *result["rules"], "best of all"]


def row(result: Plain, point: Plain) -> list[str]:
    """The cells of one point."""
    label = str(point["steps"]) if point["label"] == str(point["steps"]) else f"{point['label']} {point['steps']}"
    values = [point["random"], *(point["selected"][rule] for rule in result["rules"]), point["best"]]
    shown = [format_metric(number(value)) for value in values]
    return [label, str(point["restarts"]), format_magnitude(point["flops"]), *shown]


def describe_noise(result: Plain) -> str:
    """The noise on the path, in a few words."""
    if not result["noise"]:
        return "no noise on the path"
    every = result["noise_every"]
    return f"noise {result['noise']:g} after " + ("each step" if every == 1 else f"every {every} steps")
