"""What a user sees of a comparison on standard error: in a terminal a bar for all runs and one for each that trains,
elsewhere a line for each that has ended."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from headwise.errors import InputError
from headwise.files import read_mapping
from headwise.lab.comparison.runs import PlannedRun
from headwise.lab.records import number
from headwise.training.files import PROGRESS

PER_SECOND = 2.0  # redraws; each reads the progress file of every run that trains
MOST = 12  # runs shown at a time
HOUR = 3600.0


class Display:
    """Shows how far the runs are, from what each run's progress file says.

    Args:
        runs: all of the comparison.
        console: where; default standard error.
    """

    def __init__(self, runs: Sequence[PlannedRun], console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._runs, self._done = len(runs), sum(run.finished for run in runs)
        self._training: dict[Path, _Bar] = {}
        self._bars = _Bars(self)
        note = f"{self._done} were there" if self._done else ""
        self._all = self._bars.add_task("training", total=self._runs, completed=self._done, state="", note=note)

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._bars.stop()

    def begin(self, run: PlannedRun) -> None:
        """Show a run that was given to a worker."""
        task = self._bars.add_task(run.name, total=run.config.training.updates, visible=False, state="", note="")
        self._training[run.directory] = _Bar(run, task)

    def end(self, run: PlannedRun, failure: str | None) -> None:
        """Show that a run has ended, and how."""
        self._bars.remove_task(self._training.pop(run.directory).task)
        self._done += 1
        if failure is not None:
            self.console.print(Text(f"{run.name} failed: {failure}", style="red"), soft_wrap=True)
        elif not self.console.is_terminal:  # no bar there: a line for the log
            self.console.print(Text(f"{run.name} trained ({self._done}/{self._runs})"), soft_wrap=True)

    def look(self) -> None:
        """Read the progress files and move the bars."""
        bars = list(self._training.values())
        for bar in bars:
            bar.look()
        for place, bar in enumerate(sorted(bars, key=lambda bar: bar.update == 0)):
            self._bars.update(bar.task, completed=bar.update, visible=place < MOST, state=bar.state, note=bar.note)
        share = sum(bar.update / bar.run.config.training.updates for bar in bars)
        self._bars.update(self._all, completed=self._done + share, state=f"{self._done}/{self._runs} runs")


class _Bar:
    """One run that trains, as its progress file has it."""

    def __init__(self, run: PlannedRun, task: TaskID) -> None:
        self.run, self.task = run, task
        self.update, self.state, self.note = 0, "starting", ""

    def look(self) -> None:
        content = {}
        with suppress(InputError):  # not there before the first update, and gone after the last
            content = read_mapping(self.run.directory / PROGRESS)
        update = number(content.get("update"))
        if update is None:
            self.state = "testing" if self.update else "starting"
            return
        self.update = int(update)
        self.state = f"{self.update}/{self.run.config.training.updates}"
        value = number(content.get("value"))
        self.note = "" if value is None else f"{content.get('metric')} {value:.4f}"


class _Bars(Progress):
    """Looks at the runs whenever it draws, by its own thread's clock, so that training waits for nothing."""

    def __init__(self, display: Display) -> None:
        self._display = display
        whole = Column(no_wrap=True)  # a number is never cut; a long name takes another line
        columns = [
            TextColumn("{task.description}", table_column=Column(overflow="fold")),
            BarColumn(bar_width=12, table_column=whole.copy()),
            TextColumn("{task.fields[state]}", table_column=whole.copy()),
            TextColumn("{task.fields[note]}", table_column=whole.copy()),
            TextColumn("left", table_column=whole.copy()),
            TimeRemainingColumn(table_column=whole.copy()),
        ]
        super().__init__(*columns, console=display.console, refresh_per_second=PER_SECOND, speed_estimate_period=HOUR)

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.tasks:  # rich draws once while it is made
            self._display.look()
        return super().get_renderables()
