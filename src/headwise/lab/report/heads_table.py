"""A measurement of heads in a terminal: how well the measures guess, and the heads at either end."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headwise.lab.formatting import format_difference, format_metric
from headwise.lab.outputs import HEADS, REPORT
from headwise.lab.records import number
from headwise.lab.report.heads import KINDS, ORDER, SHOWN, Unit, agreement_table, headline, spaced, units_of


def heads_text(result: dict[str, Any]) -> list[RenderableType]:
    """What to print of heads.json."""
    text: list[RenderableType] = [Text(f"\n{headline(result)}", style="bold")]
    if result["kind"] == "causal":
        text.append(f"loss of the untouched model: {format_metric(number(result['value']))} nats")
    for kind in KINDS:
        if (found := result[kind]) and found["agreement"]:
            own = agreement_table(found)
            table = _table(f"measures of {kind} against ablation", [column.title for column in own.columns])
            for row in own.rows:
                table.add_row(*row.cells)
            text += ["", table]
    heads = units_of(result["heads"])
    ablated = any(one.change is not None for one in heads)
    titles = ["layer", "head", "contribution", ORDER, *([f"left out, {result['unit']}"] if ablated else [])]
    table = _table(f"heads by {ORDER}, the most and the least important", titles)
    for place, one in enumerate(heads):
        if place < SHOWN or place >= len(heads) - SHOWN:
            table.add_row(*_cells(one, result["sites"], ablated), end_section=place == SHOWN - 1 < len(heads) - 1)
    folder = Path(result["directory"])
    return [*text, "", table, Text(f"\nall heads: {folder / HEADS}\nreport: {folder / REPORT}")]


def _cells(one: Unit, sites: list[str], ablated: bool) -> list[Text]:
    cells = [sites[one.site], str(one.unit), *(format_difference(one.measures.get(n)) for n in ("contribution", ORDER))]
    return [Text(cell) for cell in [*cells, *([format_difference(one.change, signed=True)] if ablated else [])]]


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(spaced(column), justify="right" if place else "left", overflow="fold")
    return table
