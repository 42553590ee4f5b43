"""`headwise runs`: the runs in a folder, each with its figures."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from headwise.commands.result import Result
from headwise.files import user_path
from headwise.lab.formatting import MISSING, format_count, format_duration, format_metric, format_quantity
from headwise.schema import FilePath, argument
from headwise.training.on_disk import STATES, RunOnDisk, plain, read_run, run_directories

Column = Literal["date", "run", "task", "arm", "seed", "updates", "value", "seconds", "state"]
MATTER = ("run", "value", "state", "metric", "updates", "time", "date", "seed", "arm", "task")
"""The columns of the table, the one first that is left out last."""
LONGEST_NAME = 45
"""Characters of a run's name that it gets before other columns get theirs; longer ones take more lines."""
STYLES = {"running": "cyan", "interrupted": "yellow", "diverged": "red", "failed": "red", "broken": "red"}


@dataclass(frozen=True)
class Options:
    """List the runs in a folder with their figures: value, updates, time, date, and how each ended

    Records are read and no model is loaded. The value is that of the metric on the test split. A run is finished,
    running (a process of this machine trains it now), interrupted (headwise train resume=... goes on with it),
    diverged, failed, or broken: its directory cannot be read as that of a run, and the table says why.

    Args:
        folder: in which the runs are, at any depth: those of comparisons, too.
        sort: the column that the rows are ordered by: text from a to z, the best value, the latest date and the largest
            number first.
        reverse: the other way round.
        task: only runs on it; a pattern, 'task=maze*', may stand for several.
        arm: only runs of it, or of a pattern of names.
        state: only runs that ended so.
    """

    folder: FilePath = argument("runs")
    sort: Column = "date"
    reverse: bool = False
    task: str | None = None
    arm: str | None = None
    state: Literal["finished", "running", "interrupted", "diverged", "failed", "broken"] | None = None


def run(options: Options) -> Result:
    """Read the records and order them."""
    folder = user_path(options.folder)
    found = [read_run(directory) for directory in run_directories(folder)]
    wanted = {"task": options.task, "arm": options.arm, "state": options.state}
    runs = [each for each in found if all(_fits(getattr(each, key), text) for key, text in wanted.items())]
    runs.sort(key=_order(options.sort), reverse=options.reverse)
    counts = ", ".join(f"{n} {state}" for state in STATES if (n := sum(each.state == state for each in runs)))
    left = f" of {format_quantity(len(found), 'run')}" if len(runs) < len(found) else ""
    total = f"{format_quantity(len(runs), 'run')}{left} in {folder}{f': {counts}' if counts else ''}"
    said = [Text(f"{_name(each, folder)}: {each.reason}") for each in runs if each.reason]
    table: list[RenderableType] = [Runs(runs, folder), ""] if runs else []
    return Result([plain(each) for each in runs], [*table, *said, Text(total)])


class Runs:
    """The table of runs, with as many of its columns as the terminal has room for; the name of a run goes by task, arm
    and seed, so these are the first to be left out.

    Args:
        runs: a row each.
        folder: in which they are.
    """

    def __init__(self, runs: Sequence[RunOnDisk], folder: Path) -> None:
        cells: dict[str, Callable[[RunOnDisk], str]] = {
            "run": lambda each: _name(each, folder),
            "task": lambda each: each.task or MISSING,
            "arm": lambda each: each.arm or MISSING,
            "seed": lambda each: MISSING if each.seed is None else str(each.seed),
            "value": lambda each: format_metric(each.value),
            "metric": lambda each: (each.metric or MISSING).replace("_", " "),
            "updates": lambda each: format_count(each.updates),
            "time": lambda each: format_duration(each.seconds),
            "date": lambda each: f"{datetime.fromtimestamp(each.changed):%Y-%m-%d %H:%M}",
            "state": lambda each: f"{each.state}{', quick' if each.quick else ''}",
        }
        self.states = [each.state for each in runs]
        self.columns = {name: [text(each) for each in runs] for name, text in cells.items()}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = {name: max(map(len, [name, *texts])) for name, texts in self.columns.items()}
        widths["run"] = min(widths["run"], LONGEST_NAME)
        shown: list[str] = []
        for name in MATTER:
            if shown and sum(widths[one] + 1 for one in (*shown, name)) > options.max_width:
                break
            shown.append(name)
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
        for name in (name for name in self.columns if name in shown):
            right = name in ("seed", "value", "updates", "time")
            table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name != "run")
        for row, state in enumerate(self.states):
            cells = {name: Text(texts[row]) for name, texts in self.columns.items() if name in shown}
            if "state" in cells:
                cells["state"].stylize(STYLES.get(state, ""))
            table.add_row(*cells.values())
        yield table


def _name(run: RunOnDisk, folder: Path) -> str:
    return str(run.directory.relative_to(folder)) if run.directory != folder else str(folder)


def _fits(value: str | None, pattern: str | None) -> bool:
    return pattern is None or (value is not None and fnmatchcase(value, pattern))


def _order(column: Column) -> Callable[[RunOnDisk], Any]:
    """What the rows are ordered by; a run without the figure comes last, and equal ones by their directory."""

    def number(value: float | None) -> float:
        return math.inf if value is None else -value

    def best(run: RunOnDisk) -> float:
        return number(run.value if run.value is None or run.higher_is_better else -run.value)

    orders: Mapping[str, Callable[[RunOnDisk], Any]] = {
        "date": lambda each: -each.changed,
        "run": lambda each: "",
        "task": lambda each: each.task or "\uffff",
        "arm": lambda each: each.arm or "\uffff",
        "seed": lambda each: math.inf if each.seed is None else each.seed,
        "updates": lambda each: number(each.updates),
        "value": lambda each: (each.metric or "\uffff", best(each)),
        "seconds": lambda each: number(each.seconds),
        "state": lambda each: STATES.index(each.state),
    }
    return lambda each: (orders[column](each), str(each.directory))
