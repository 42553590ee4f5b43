"""What a command ends in: data for a program, and the same for a person."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Result:
    """The end of a command.

    Attributes:
        data: what `--json` prints; plain JSON.
        text: what is printed without it, one after the other.
        code: how the program ends; 1 where a part of the work failed.
    """

    data: Any
    text: Sequence[RenderableType]
    code: int = 0


def key_values(values: Mapping[str, Any], title: str | None = None) -> Table:
    """A mapping as two columns; mappings in it, and lists of them, become dotted keys."""
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _leaves(values):
        table.add_row(key, Text(readable(value)))  # not a str, in which rich would read [brackets] as styles
    return table


def columns(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> Table:
    """Rows with the same keys as a table of the columns `names`; numbers to the right."""
    rows = list(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        number = all(isinstance(row.get(name), (int, float, type(None))) for row in rows)
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(readable(row.get(name))) for name in names))
    return table


def readable(value: Any) -> str:
    """A value as a person writes it: four figures, thousands apart, a dash for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(readable(item) for item in value)
    return str(value)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            value = {str(index): item for index, item in enumerate(value)}
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
