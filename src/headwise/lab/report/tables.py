"""The end of a comparison in a terminal: headline, table, one verdict for each pair."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from headwise.errors import InputError
from headwise.files import read_bytes, write_text
from headwise.lab.comparison.verdicts import MetricBounds
from headwise.lab.formatting import (
    format_count,
    format_interval,
    format_magnitude,
    format_metric,
    format_normalised,
    format_quantity,
)
from headwise.lab.names import left_out, with_short_names
from headwise.lab.outputs import REPORT
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.descriptions import spaced

Plain = Mapping[str, Any]
FEW = 12
"""So many pairs of arms are said in a terminal."""
STYLES = {
    "better": "bold green",
    "worse": "bold red",
    "equivalent": "bold blue",
    "too few seeds": "yellow",
    "no result": "yellow",
}


def comparison_text(result: Plain) -> list[RenderableType]:
    """What to print of comparison.json, one after the other."""
    names = left_out(list(result["arms"]))
    result = with_short_names(result)
    failed = [
        Text(f"{label}, seed {seed} failed: {error}", style="red")
        for label, arm in result["arms"].items()
        for seed, error in arm["failures"].items()
    ]
    where = Text(f"\nreport: {Path(result['directory']) / REPORT}")
    quick = [Text(captions.QUICK, style="yellow")] if result.get("quick") else []
    return [
        Text(f"\n{result['headline']}", style="bold"),
        *quick,
        "",
        comparison_table(result),
        *([Text(f"{names}\n")] if names else []),
        *failed,
        verdicts(result["pairs"], next(iter(result["arms"]))),
        *([Text(f"\n{looks_sentence(result)}")] if result.get("looks") else []),
        where,
    ]


def comparison_table(result: Plain) -> Table:
    """Every arm between ceiling and floor: score with interval, parameters, FLOPs and speed."""
    seeds = format_quantity(len(result["seeds"]), "seed")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left")
    table.title = f"{result['task']}, {seeds}, {format_count(result.get('updates'))} updates"
    table.add_column("arm", overflow="fold", min_width=12)
    for title in (spaced(result["metric"]), "95 % interval", "normalised", "parameters", "FLOPs/example", "samples/s"):
        table.add_column(title, justify="right", no_wrap=True)
    references = result.get("references") or {}
    others = [(spaced(name), number(value)) for name, value in references.items() if name not in ("floor", "ceiling")]
    for name, level in (("ceiling", number(result["ceiling"])), *others):
        if level is not None:
            table.add_row(Text(name, style="italic"), format_metric(level), "", _normalised(result, level), style="dim")
    for label, arm in result["arms"].items():
        mean = number(arm["mean"])
        table.add_row(
            escape(label),
            format_metric(mean),
            format_interval(arm["interval"]),
            _normalised(result, mean),
            format_count(arm["parameters"]),
            format_magnitude(number(arm["flops_per_example"])),
            format_count(number(arm["samples_per_second"])),
        )
    if (floor := number(result["floor"])) is not None:
        table.add_row(Text("floor", style="italic"), format_metric(floor), "", _normalised(result, floor), style="dim")
    return table


def markdown_table(result: Plain) -> str:
    """The same for a document, with the headline and the verdicts below."""
    names = left_out(list(result["arms"]))
    result = with_short_names(result)
    metric, others = spaced(result["metric"]), result.get("references") or {}
    head = ["arm", metric, "95 % interval", "normalised score", "parameters", "FLOPs/example", "samples/s"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    levels = [("ceiling", result["ceiling"]), *((k, v) for k, v in others.items() if k not in ("floor", "ceiling"))]
    rows += [
        [f"*{spaced(k)}*", format_metric(number(v)), "", _normalised(result, number(v)), "", "", ""] for k, v in levels
    ]
    for label, arm in result["arms"].items():
        mean = number(arm["mean"])
        cost = [format_count(arm["parameters"]), format_magnitude(number(arm["flops_per_example"]))]
        speed = format_count(number(arm["samples_per_second"]))
        rows.append(
            [label, format_metric(mean), format_interval(arm["interval"]), _normalised(result, mean), *cost, speed]
        )
    floor = number(result["floor"])
    rows.append(["*floor*", format_metric(floor), "", _normalised(result, floor), "", "", ""])
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    verdict = [f"- {pair['verdict']}" for pair in result["pairs"]]
    seeds = format_quantity(len(result["seeds"]), "seed")
    looks = ["", looks_sentence(result)] if result.get("looks") else []
    title = f"{result['headline']} ({result['task']}, {seeds}, {format_count(result.get('updates'))} updates)."
    quick = ["", f"**{captions.QUICK}**"] if result.get("quick") else []
    told = ["", names] if names else []
    return "\n".join([title, *quick, "", *lines, *told, "", *verdict, *looks])


def insert_table(result: Plain, file: Path) -> None:
    """Put `markdown_table` between the two marks in `file`, and leave all else as it is; one that is not there is made.

    Raises:
        InputError: the file has no marks, is not UTF-8 text, or its folder is not there.
    """
    begin, end = "<!-- result table -->", "<!-- end of result table -->"
    if not file.parent.is_dir():
        raise InputError(f"markdown={file}: no folder {file.parent}; make it first")
    content = read_bytes(file) if file.exists() else f"{begin}\n{end}\n".encode()
    try:
        text = content.decode("utf-8")  # a byte order mark stays where it is, as a character
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise InputError(f"{file}: no place for the table; put the lines {begin} and {end} where it belongs")
    newline = "\r\n" if "\r\n" in text else "\n"
    table = "\n".join([begin, markdown_table(result), end]).replace("\n", newline)
    write_text(file, f"{before}{table}{after}")


def looks_sentence(result: Plain) -> str:
    """How a comparison with seeds=auto went on, and why it ended."""
    looks = result["looks"]
    first, last = looks["seeds"][0], looks["seeds"][-1]
    when = f"after each of {first} to {last} seeds" if last > first else f"after {first} seeds"
    ended = f" and ended there: {looks['ended']}" if looks.get("ended") else ""
    return (
        f"The data were looked at {when}, of {looks['most']} that there might have been{ended}. p values and intervals "
        "allow for every look (O'Brien and Fleming's spending)."
    )


def verdicts(pairs: Sequence[Plain], first: str | None = None) -> Table:
    """One line for each pair of arms; of more than `FEW` only for those with the `first` arm, if there is one."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    with_first = [pair for pair in pairs if first in (pair["a"], pair["b"])]
    shown = with_first if with_first and len(pairs) > FEW else pairs
    for pair in shown:
        table.add_row(Text(pair["kind"], style=STYLES.get(pair["kind"], "cyan")), escape(pair["verdict"]))
    if len(shown) < len(pairs):
        table.add_row("", f"and {format_quantity(len(pairs) - len(shown), 'pair')} more, on the page")
    return table


def _normalised(result: Plain, value: float | None) -> str:
    """The normalised score of a value: 0 % at the floor, 100 % at the ceiling; nothing where either is unknown."""
    score = MetricBounds(number(result["floor"]), number(result["ceiling"])).normalised(value)
    return "" if score is None else format_normalised(score)
