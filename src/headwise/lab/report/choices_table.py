"""The tables of `headwise choices`: what each choice of heads adds to the cost of the untouched model."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headwise.lab.formatting import format_percent


def choices_text(result: Mapping[str, Any]) -> Sequence[RenderableType]:
    """A table for each text, and a line on what it says."""
    parts: list[RenderableType] = []
    for where, found in result["tables"].items():
        name = result["settings"][where]
        title = f"{name}: {found['examples']} examples, untouched {found['untouched']:.4f} {result['unit']}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for column in ("heads", "chosen by", "when", "counted"):
            table.add_column(column)
        for column in (f"{result['unit']} added", "95 % interval", "of the best choice made once", "heads on"):
            table.add_column(column, justify="right")
        before = None
        for row in found["rows"]:
            if before not in (None, row["keep"]):
                table.add_section()
            before = row["keep"]
            ratio = row.get("share_of_best_static")
            table.add_row(
                str(row["keep"]),
                row["choice"],
                row["when"],
                row["counted"],
                f"{row['added']:+.4f}",
                _interval(row["interval"]),
                "-" if ratio is None else f"{ratio:.2f}",
                format_percent(row["on"]),
            )
        parts += [table, Text("")]
    return parts


def _interval(bounds: Sequence[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"
