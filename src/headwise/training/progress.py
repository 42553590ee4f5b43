"""What a user sees of a run on standard error: a bar in a terminal, a line per validation elsewhere; and what a program
that watches it reads."""

import contextlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from headwise.errors import StorageError
from headwise.files import write_json
from headwise.training.recorder import Recorder
from headwise.training.validation import Validation

REFRESH = 0.2  # seconds


class ProgressBar:
    """Shows update, loss, primary metric and speed. Redrawn by the clock, not by the update, so it costs no time.

    Args:
        label: what is being trained.
        updates: of the whole run.
        recorder: for the loss and the speed.
        validation: for the primary metric.
        console: where it is drawn; None draws nothing.
    """

    def __init__(
        self, label: str, updates: int, recorder: Recorder, validation: Validation, console: Console | None
    ) -> None:
        self.label, self.updates, self.recorder, self.validation = label, updates, recorder, validation
        self.console = console
        self._progress: Progress | None = None
        self._drawn = 0.0

    @contextlib.contextmanager
    def shown(self, update: int) -> Iterator[None]:
        """Inside the block there is a bar, in a terminal, that begins at `update`."""
        if self.console is None or not self.console.is_terminal:
            yield
            return
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=self.console,
            auto_refresh=False,  # its thread would take time from training
            transient=True,
        )
        self._task = self._progress.add_task(self.label, total=self.updates, completed=update, numbers="")
        try:
            with self._progress:
                yield
        finally:
            self._progress = None

    def advance(self, update: int, validated: bool) -> None:
        """Show that so many updates are done."""
        if self._progress is None:
            if validated and self.console is not None:
                line = f"{self.label}: update {update}/{self.updates}  {self._numbers()}"
                self.console.print(line, highlight=False, soft_wrap=True)
            return
        now = time.monotonic()
        if validated or now - self._drawn > REFRESH:
            self._drawn = now
            self._progress.update(self._task, completed=update, numbers=self._numbers(), refresh=True)

    def _numbers(self) -> str:
        parts = []
        if "loss" in self.recorder.latest:
            parts.append(f"loss {self.recorder.latest['loss']:.4f}")
        if self.validation.latest:
            parts.append(f"{self.validation.metric} {self.validation.latest[self.validation.metric]:.4f}")
        if "samples_per_second" in self.recorder.latest:
            parts.append(f"{self.recorder.latest['samples_per_second']:.0f}/s")
        return "  ".join(parts)


class ProgressFile:
    """Keeps update, loss and primary metric in a small file while a run trains, for a program that watches several.

    Written by the clock, as the bar is drawn; a disk that is full costs the file and not the run.

    Args:
        path: of the file; None, as for all processes of a run but the first, writes nothing.
        recorder: for the loss.
        validation: for the primary metric.
    """

    def __init__(self, path: Path | None, recorder: Recorder, validation: Validation) -> None:
        self.path, self.recorder, self.validation = path, recorder, validation
        self._written = 0.0

    @contextlib.contextmanager
    def shown(self, update: int) -> Iterator[None]:
        """Inside the block there is the file."""
        self._write(update)
        try:
            yield
        finally:
            if self.path is not None:
                self.path.unlink(missing_ok=True)

    def advance(self, update: int, validated: bool) -> None:
        """Say that so many updates are done."""
        if validated or time.monotonic() - self._written > REFRESH:
            self._write(update)

    def _write(self, update: int) -> None:
        if self.path is None:
            return
        self._written = time.monotonic()
        metric, loss = self.validation.metric, self.recorder.latest.get("loss")
        measured = {"metric": metric, "value": self.validation.latest.get(metric)}
        shown = measured if self.validation.latest else {"metric": "loss", "value": loss}
        with contextlib.suppress(StorageError):
            write_json(self.path, {"update": update} | shown, durable=False)


class _ConsoleHandler(logging.Handler):
    """Prints log lines through the console that also draws the bar, so that neither spoils the other."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        self.console.print(record.getMessage(), highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def reported(console: Console | None) -> Iterator[None]:
    """Inside the block our own notes appear on the console, unless the program has a logging set-up of its own."""
    log = logging.getLogger("headwise")
    if console is None or log.hasHandlers():
        yield
        return
    handler, level = _ConsoleHandler(console), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
