"""An out-of-distribution test in a terminal: a table for each axis, and what was decided."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from headwise.lab import names
from headwise.lab.formatting import MISSING, format_duration, format_metric, format_percent, format_quantity, join_words
from headwise.lab.outputs import REPORT
from headwise.lab.records import number
from headwise.lab.report import captions
from headwise.lab.report.descriptions import spaced

Plain = Mapping[str, Any]
SIGNS = {"better": ">", "worse": "<"}


def ood_text(result: Plain) -> list[RenderableType]:
    """What to print of ood.json, one after the other."""
    shared, result = names.left_out(list(result["arms"])), names.with_short_names(result)
    parts: list[RenderableType] = [Text(f"\n{result['headline']}.", style="bold")]
    parts += [Text(captions.QUICK, style="yellow")] if result.get("quick") else []
    for name, axis in result["axes"].items():
        parts += ["", axis_table(result, name, axis)]
        parts += [Text(line, style="yellow") for line in left_out(axis)]
    parts += ["", Text(captions.KEPT.format(score=result["score"]), style="dim"), ""]
    parts += [Text(shared)] if shared else []
    parts += [Text(line) for line in result["lead"]]
    parts += [Text(line, style="yellow") for line in (*result["left_out"], *result["notes"])]
    return [*parts, Text(f"\nreport: {Path(result['directory']) / REPORT}")]


def axis_table(result: Plain, name: str, axis: Plain) -> Table:
    """Each point of an axis: floor, ceiling, every arm with what it keeps, and which arms are better than which."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left")
    table.title = f"{spaced(name)}: {axis['about']} ({spaced(result['metric'])})"
    table.add_column(spaced(name), justify="right", no_wrap=True)
    for title in ("floor", "ceiling"):
        table.add_column(title, justify="right", style="dim", no_wrap=True)
    for label in result["arms"]:
        table.add_column(Text(label), justify="right", no_wrap=True)
    table.add_column("decided", overflow="fold")
    for point in measured(axis):
        table.add_row(
            value_of(point),
            *(format_metric(number(point[end])) for end in ("floor", "ceiling")),
            *(" ".join(cell(point["arms"][label])) for label in result["arms"]),
            decided(point),
            style="bold" if point["is_neutral"] else None,
        )
    return table


def measured(axis: Plain) -> list[Plain]:
    """The points of an axis at which there is a result."""
    return [point for point in axis["points"] if point["examples"]]


def value_of(point: Plain) -> str:
    """The value of a point, marked where it is that of training."""
    return f"{point['label']}*" if point["is_neutral"] else str(point["label"])


def cell(arm: Plain) -> tuple[str, str]:
    """The mean of an arm, and what it keeps of its gain."""
    kept = number(arm["kept"])
    return format_metric(number(arm["mean"])), "" if kept is None else f"({format_percent(kept)})"


def decided(point: Plain) -> str:
    """The pairs of which one arm is better, in signs; a dash where no difference was shown."""
    found = [f"{pair['a']} {SIGNS[pair['kind']]} {pair['b']}" for pair in point["pairs"] if pair["kind"] in SIGNS]
    return ", ".join(found) or MISSING


def left_out(axis: Plain) -> list[str]:
    """What could not be measured, runs with the same reason in one line."""
    lines: list[str] = []
    for point in axis["points"]:
        runs_of: dict[str, list[str]] = {}
        for run, reason in point["left_out"].items():
            runs_of.setdefault(reason, []).append(run)
        missing = {label for label, arm in point["arms"].items() if arm["mean"] is None}
        for reason, runs in runs_of.items():
            arms = dict.fromkeys(run.rpartition(", seed ")[0] for run in runs)
            named = [arm for arm in arms if arm in missing]
            named += [run for run in runs if run.rpartition(", seed ")[0] not in missing]
            whom = "" if missing == set(point["arms"]) else f" of {join_words(named)}"
            lines.append(f"{point['label']} not measured{whom}: {reason}")
    return lines


def low_data_plan_text(plan: Plain) -> list[RenderableType]:
    """What to print of a dry run with few training examples."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title_justify="left")
    table.title = f"{plan['task']}, {format_quantity(len(plan['seeds']), 'seed')}: the plan"
    for title in ("examples", "arm", "runs", "finished", "a run"):
        table.add_column(title, justify="left" if title == "arm" else "right", no_wrap=True)
    for count, arms in plan["examples"].items():
        for label, arm in arms.items():
            each = format_duration(plan["seconds_of_a_run"][label])
            table.add_row(count, Text(label), str(arm["runs"]), str(arm["finished"]), each)
    left = sum(arm["runs"] - arm["finished"] for arms in plan["examples"].values() for arm in arms.values())
    jobs = format_quantity(plan["jobs"], "run")
    return [
        table,
        f"{format_quantity(left, 'run')} to train: about {format_duration(plan['seconds'])}, {jobs} at a time",
    ]
