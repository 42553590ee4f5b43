"""A ladder in a terminal: the verdict and the checks of every rung."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headwise.lab.formatting import format_count
from headwise.lab.outputs import REPORT
from headwise.lab.report import captions
from headwise.lab.report.ladder import check_value


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
                "" if words else check_value(check["value"]),
                "" if words else check_value(check["allowed"]),
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
    where = Text(f"\nreport: {Path(result['directory']) / REPORT}")
    quick = [Text(captions.QUICK, style="yellow")] if result.get("quick") else []
    return [Text(f"\n{result['verdict']}", style=style), *quick, "", table, *samples, *untried, where]
