"""What a user sees of a run on standard error: a bar in a terminal, a line per validation elsewhere."""

import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from headwise.training.callbacks import Validation
from headwise.training.recorder import Recorder

REFRESH = 0.2  # seconds


class ProgressBar(Callback):
    """Shows update, loss, primary metric and speed. Redrawn by the clock, not by the update, so it costs no time.

    Args:
        label: what is being trained.
        updates: of the whole run.
        recorder: for the loss and the speed.
        validation: for the primary metric.
        console: where it is drawn.
    """

    def __init__(self, label: str, updates: int, recorder: Recorder, validation: Validation, console: Console) -> None:
        self.label, self.updates, self.recorder, self.validation = label, updates, recorder, validation
        self.console = console
        self._progress: Progress | None = None
        self._drawn, self._reported = 0.0, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.console.is_terminal:
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
        self._task = self._progress.add_task(self.label, total=self.updates, completed=trainer.global_step, numbers="")
        self._progress.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        validated = self.validation.ran_at == trainer.global_step
        if self._progress is None:
            if validated:
                line = f"{self.label}: update {trainer.global_step}/{self.updates}  {self._numbers()}"
                self.console.print(line, highlight=False, soft_wrap=True)
            return
        now = time.monotonic()
        if validated or now - self._drawn > REFRESH:
            self._drawn = now
            self._progress.update(self._task, completed=trainer.global_step, numbers=self._numbers(), refresh=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _numbers(self) -> str:
        parts = []
        if "loss" in self.recorder.latest:
            parts.append(f"loss {self.recorder.latest['loss']:.4f}")
        if self.validation.latest:
            parts.append(f"{self.validation.metric} {self.validation.latest[self.validation.metric]:.4f}")
        if "samples_per_second" in self.recorder.latest:
            parts.append(f"{self.recorder.latest['samples_per_second']:.0f}/s")
        return "  ".join(parts)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


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


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Inside the block Lightning reports errors only: its notes are about the Trainer, which is ours to set up."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
