"""A ladder in a terminal: the verdict and the checks of every rung."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headwise.lab.formatting import MISSING, format_count
from headwise.lab.outputs import LADDER


def ladder_text(result: dict[str, Any]) -> list[RenderableType]:
    """What to print of ladder.json: the verdict, the checks of every rung, where it is."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left")
    table.title = f"{result['task']}, {format_count(result['updates'])} updates a rung, seed {result['seed']}"
    for title in ("arm", "check", "found", "allowed", ""):
        table.add_column(title, justify="right" if title in ("found", "allowed") else "left", overflow="fold")
    for rung in result["rungs"]:
        for i, check in enumerate(rung["checks"]):
            words = check["name"] == "sample"
            table.add_row(
                Text(rung["arm"] if i == 0 else ""),
                check["name"],
                "" if words else _value(check["value"]),
                "" if words else _value(check["allowed"]),
                Text("passed" if check["passed"] else "failed", style="green" if check["passed"] else "bold red"),
                end_section=i == len(rung["checks"]) - 1,
            )
    samples = [
        Text(f"{rung['arm']} writes: {check['value']}\n    {check['note']}")
        for rung in result["rungs"]
        for check in rung["checks"]
        if check["name"] == "sample"
    ]
    rest = result["arms"][len(result["rungs"]) :]
    untried = [Text(f"not tried: {', '.join(rest)}", style="dim")] if rest else []
    style = "bold green" if result["passed"] else "bold red"
    where = Text(f"\nladder: {Path(result['directory']) / LADDER}")
    return [Text(f"\n{result['verdict']}", style=style), "", table, *samples, *untried, where]


def _value(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    return f"{value:.2g}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"
