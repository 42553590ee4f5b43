"""A scaling in a terminal: its plan before, its table and advantages after."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from headwise.lab.formatting import (
    MISSING,
    format_count,
    format_duration,
    format_interval,
    format_magnitude,
    format_metric,
    format_quantity,
)
from headwise.lab.names import left_out, sizes_with_short_names
from headwise.lab.outputs import REPORT
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.descriptions import spaced
from headwise.lab.report.tables import STYLES

Plain = Mapping[str, Any]


def plan_text(plan: Plain) -> list[RenderableType]:
    """What to print of a dry run."""
    machine = plan["machine"]
    seeds = format_quantity(len(plan["seeds"]), "seed")
    remaining = sum(arm["runs"] - arm["finished"] for arms in plan["sizes"].values() for arm in arms.values())
    table = _table(
        f"{plan['task']}, {seeds}, {format_count(plan['updates'])} updates of {plan['batch_size']}: the plan"
    )
    for title in ("size", "arm", "shape"):
        table.add_column(title)
    for title in ("parameters", "ratio", "FLOPs/example", "memory", "an update", "a run"):
        table.add_column(title, justify="right", no_wrap=True)
    for size, arms in plan["sizes"].items():
        for label, arm in arms.items():
            table.add_row(
                size,
                escape(label),
                shape(arm["model"]),
                format_count(arm["parameters"]),
                f"{arm['parameter_ratio']:.3f}",
                format_magnitude(arm["flops_per_example"]),
                size_in_bytes(arm["memory"]["peak"]),
                format_duration(arm["seconds"]["update"]),
                format_duration(arm["seconds"]["run"]),
            )
    processes = f"{format_count(machine['jobs'])} process" + ("" if machine["jobs"] == 1 else "es")
    return [
        table,
        f"{format_quantity(remaining, 'run')} to train: about {format_duration(plan['seconds'])} with {processes}; "
        f"memory {size_in_bytes(machine['memory'])} ({machine['device']})",
        Text(plan["how"], style="dim"),
    ]


def scaling_text(result: Plain) -> list[RenderableType]:
    """What to print of scaling.json, one after the other."""
    shared, result = left_out(result["arms"]), sizes_with_short_names(result)
    parts: list[RenderableType] = [Text(f"\n{result['headline']}", style="bold")]
    parts += [Text(captions.QUICK, style="yellow")] if result.get("quick") else []
    parts += ["", scaling_table(result), *([Text(f"{shared}\n")] if shared else [])]
    for size, content in result["sizes"].items():
        for label, arm in content["arms"].items():
            for seed, error in arm["failures"].items():
                parts.append(Text(f"{size}, {label}, seed {seed} failed: {error}", style="red"))
    parts.append(verdicts(result))
    parts += [Text(line) for line in advantage_sentences(result)]
    return [*parts, Text(f"\nreport: {Path(result['directory']) / REPORT}")]


def scaling_table(result: Plain) -> Table:
    """Every arm at every size: both metrics, and what it costs."""
    first: Plain = next(iter(result["sizes"].values()))
    table = _table(f"{result['task']}, matched on {' and '.join(first['parity']['matched'])}")
    table.add_column("size")
    table.add_column("arm", overflow="fold", min_width=8)
    titles = ["seeds", *map(spaced, result["metrics"]), "95 % interval"]
    for title in (*titles, "parameters", "ratio", "FLOPs/example", "training", "memory"):
        table.add_column(title, justify="right", no_wrap=True)
    for size, content in result["sizes"].items():
        for label, arm in content["arms"].items():
            table.add_row(
                size,
                escape(label),
                str(len(content["seeds"])),
                *(format_metric(number((arm["metrics"] or {}).get(name))) for name in result["metrics"]),
                format_interval(arm["interval"]),
                format_count(arm["parameters"]),
                f"{arm['parameter_ratio']:.3f}",
                format_magnitude(number(arm["flops_per_example"])),
                format_duration(number(arm["train_seconds"])),
                size_in_bytes(number(arm["peak_memory"])),
            )
        table.add_section()
    for name in ("floor", "ceiling"):
        if (level := number(first[name])) is not None:
            table.add_row("", Text(name, style="italic"), "", format_metric(level), style="dim")
    return table


def verdicts(result: Plain) -> Table:
    """One line for each size and pair of arms."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for size, content in result["sizes"].items():
        for pair in content["pairs"]:
            style = STYLES.get(pair["kind"], "cyan")
            table.add_row(size, Text(pair["kind"], style=style), escape(pair["verdict"]))
    return table


def advantage_sentences(result: Plain) -> list[str]:
    """Average advantage and best size, in a sentence for each metric and arm."""
    sentences = []
    for metric, arms in result["advantage"].items():
        for label, arm in arms.items():
            average = format_metric(arm["average"], signed=True)
            best = format_metric(arm["by_size"][arm["best_size"]]["advantage"], signed=True)
            where = f"{average} on average of {len(arm['by_size'])} sizes; best at {arm['best_size']}, {best}"
            if len(arm["by_size"]) == 1:
                where = f"{average} at {arm['best_size']}"
            sentences.append(f"{spaced(metric)}: advantage of {label} over {arm['over']} {where}")
    return sentences


def shape(model: Plain) -> str:
    """Blocks, width, heads and FFN width in a few characters."""
    return f"{model['depth']} x {model['width']}, {model['heads']} heads, FFN {model['ffn']}"


def size_in_bytes(count: float | None) -> str:
    """Three digits, a prefix and B: 1.23 GB."""
    return MISSING if count is None else f"{format_magnitude(count)}B"


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left", title=title)
