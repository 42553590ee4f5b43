"""The plan of a comparison that is to see an effect, in a terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headwise.lab.comparison.resolution import MOST_SEEDS, TIMES
from headwise.lab.formatting import format_count, format_difference, format_duration, format_quantity
from headwise.lab.report import captions
from headwise.lab.report.descriptions import spaced

Plain = Mapping[str, Any]


def forecast_text(plan: Plain) -> list[RenderableType]:
    """What to print of a plan, one after the other."""
    quick = [Text(captions.QUICK, style="yellow")] if plan["quick"] else []
    return [*quick, Text(f"\n{recommendation(plan)}", style="bold"), "", forecast_table(plan), Text(captions.FORECAST)]


def recommendation(plan: Plain) -> str:
    """The recommended size in a sentence, with the range that its seeds may have to be in."""
    effect, chosen = f"a difference of {format_difference(plan['effect'])}", plan["recommended"]
    known = plan["now"]
    now = f"{format_quantity(known['seeds'], 'seed')} as now show one of {format_difference(known['can_show'])}"
    if chosen is None:
        most = f"{format_count(MOST_SEEDS)} seeds on {TIMES[-1]} times the test examples"
        return f"Not even {most} would show {effect}; {now}."
    low, high = chosen["seeds_low"], chosen["seeds_high"]
    ends = f"{format_count(low)} to {format_count(high)}" if high is not None else f"{format_count(low)} or more"
    size = format_quantity(chosen["seeds"], "seed")
    if chosen["examples"]:
        size += f" on {format_quantity(chosen['examples'], 'test example')}"
    time = format_duration(3600 * chosen["hours"])
    return f"To see {effect}: {size}, about {time} ({ends} seeds, as far as so few tell their variance); {now}."


def forecast_table(plan: Plain) -> Table:
    """What can be shown, and ruled out, by seeds and test examples; marked where that is the effect or less."""
    counts = list(dict.fromkeys(cell["examples"] for cell in plan["table"]))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left")
    table.title = f"{spaced(plan['metric'])}: difference shown / ruled out"
    for title in ("seeds", "takes", *(f"{format_count(count)} examples" if count else "" for count in counts)):
        table.add_column(title, justify="right", no_wrap=True)
    for seeds in dict.fromkeys(cell["seeds"] for cell in plan["table"]):
        row = [cell for cell in plan["table"] if cell["seeds"] == seeds]
        cells = [Text(_both(cell), style="green" if cell["can_show"] <= plan["effect"] else "") for cell in row]
        table.add_row(str(seeds), format_duration(3600 * row[0]["hours"]), *cells)
    return table


def _both(cell: Plain) -> str:
    return f"{format_difference(cell['can_show'])} / {format_difference(cell['can_rule_out'])}"
