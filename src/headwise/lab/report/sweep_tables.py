"""A sweep in a terminal: its plan before; after it the settings, the verdicts and the sentence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from headwise.lab.comparison.verdicts import MetricBounds
from headwise.lab.formatting import (
    format_count,
    format_duration,
    format_interval,
    format_magnitude,
    format_metric,
    format_normalised,
    format_quantity,
)
from headwise.lab.outputs import REPORT
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.descriptions import spaced
from headwise.lab.report.tables import verdicts

Plain = Mapping[str, Any]
TITLES = (
    "setting",
    "test",
    "95 % interval",
    "normalised",
    "validation",
    "seeds",
    "parameters",
    "FLOPs/example",
    "updates",
)


def plan_text(plan: Plain) -> list[RenderableType]:
    """What to print of a dry run."""
    settings, machine = plan["settings"], plan["machine"]
    table = _table(f"{plan['task']}, {format_quantity(len(plan['seeds']), 'seed')}: the plan")
    table.add_column("setting", overflow="fold")
    for title in ("parameters", "FLOPs/example", "updates", "a run", "runs", "finished"):
        table.add_column(title, justify="right", no_wrap=True)
    for label, one in settings.items():
        table.add_row(
            escape(marked(plan, label)),
            format_count(one["parameters"]),
            format_magnitude(one["flops_per_example"]),
            format_count(one["updates"]),
            format_duration(one["seconds"]),
            format_count(one["runs"]),
            format_count(one["finished"]),
        )
    remaining = sum(one["runs"] - one["finished"] for one in settings.values())
    again = f", and {2 * plan['confirm']} to confirm the best" if plan["confirm"] and len(settings) > 1 else ""
    return [
        table,
        *(Text(line, style="dim") for line in left_out(plan)),
        f"{format_quantity(len(settings), 'setting')}, {format_quantity(remaining, 'run')} to train{again}: about "
        f"{format_duration(plan['seconds'])} with {machine['jobs']} side by side",
        Text(plan["how"], style="dim"),
    ]


def sweep_text(result: Plain) -> list[RenderableType]:
    """What to print of sweep.json, one after the other; the sentence stands last, where it is seen."""
    parts: list[RenderableType] = [settings_table(result)]
    parts += [Text(line, style="red") for line in failures(result)]
    parts += [Text(captions.QUICK, style="yellow")] if result.get("quick") else []
    parts += [verdicts(result["pairs"])] if result["pairs"] else []
    parts += [Text(line, style="dim") for line in left_out(result)]
    parts += ["", *(Text(line) for line in result["lead"]), Text(result["headline"], style="bold")]
    return [*parts, Text(f"\nreport: {Path(result['directory']) / REPORT}")]


def settings_table(result: Plain) -> Table:
    """Every setting: its score on test and validation examples, and its size."""
    table = _table(f"{result['task']}, {spaced(result['metric'])}, {format_quantity(len(result['seeds']), 'seed')}")
    first, *others = TITLES
    table.add_column(first, overflow="fold", min_width=12)
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    for label in result["arms"]:
        setting, *cells = setting_cells(result, label)
        table.add_row(escape(setting), *cells)
    return table


def setting_cells(result: Plain, label: str) -> list[str]:
    """A setting under `TITLES`."""
    arm = result["arms"][label]
    mean = number(arm["mean"])
    score = MetricBounds(number(arm["floor"]), number(arm["ceiling"])).normalised(mean)
    return [
        marked(result, label),
        format_metric(mean),
        format_interval(arm["interval"]),
        "" if score is None else format_normalised(score),
        format_metric(number(arm["validation_mean"])),
        str(sum(value is not None for value in arm["values"])),
        format_count(arm["parameters"]),
        format_magnitude(number(arm["flops_per_example"])),
        format_count(number(arm.get("updates"))),
    ]


def marked(result: Plain, label: str) -> str:
    """A label, and whether it is that of the base or of the best setting."""
    marks = [mark for mark, own in (("base", result["base"]), ("best", result.get("best"))) if own == label != mark]
    return f"{label} ({', '.join(marks)})" if marks else label


def failures(result: Plain) -> list[str]:
    """Runs of the search and of the confirmation that failed."""
    parts = {"": result["arms"]} | (
        {"confirmation, ": result["confirmation"]["arms"]} if result["confirmation"] else {}
    )
    return [
        f"{where}{label}, seed {seed} failed: {error}"
        for where, arms in parts.items()
        for label, arm in arms.items()
        for seed, error in arm["failures"].items()
    ]


def left_out(result: Plain) -> list[str]:
    """Combinations that are refused, each with its reason."""
    return [f"without {label}: {reason}" for label, reason in result["left_out"].items()]


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left", title=title)
