"""The cells of a comparison, (arm, seed): each is trained in a directory of its own, side by side, and never twice.

A cell's run directory is `runs/<arm>/seed<k>`. A comparison that was stopped goes on where it was: finished cells are
kept, one that was interrupted resumes from its checkpoint, one that failed is tried again.
"""

import re
import shutil
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

import torch
from joblib import Parallel, delayed, parallel_config
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from headwise.errors import InputError
from headwise.lab.records import SUMMARY, is_run, read_json, write_text
from headwise.training.config import RunConfig

RUNS = "runs"
FAILURE = "error.txt"
LAST = Path("checkpoints") / "last.ckpt"


class Train(Protocol):
    """As `headwise.training.run.train`: trains one configuration, or resumes a run, and returns its directory."""

    def __call__(
        self, config: RunConfig, resume: Path | None = None, *, directory: Path | None = None, progress: bool = True
    ) -> Path: ...


@dataclass(frozen=True)
class Cell:
    """One arm with one seed; `directory` is that of its run, `size` says which one where arms have several."""

    label: str
    seed: int
    config: RunConfig
    directory: Path
    size: str = ""

    @property
    def finished(self) -> bool:
        return bool(read_json(self.directory / SUMMARY))

    @property
    def name(self) -> str:
        return f"{self.size} {self.label}, seed {self.seed}".strip()


def folder(label: str) -> str:
    """A label as the name of a directory: what file systems refuse becomes a hyphen."""
    return re.sub(r"[^\w.,=+-]+", "-", label).strip(".-") or "arm"


def run_cells(cells: Sequence[Cell], train: Train, jobs: int, threads: int) -> dict[Path, str]:
    """Train the cells that are not finished, `jobs` at a time with `threads` torch threads each.

    Returns:
        what went wrong, by the cell's directory; a cell that is not in it has a summary. A failure ends its own cell
        only.
    """
    waiting = [cell for cell in cells if not cell.finished]
    failures: dict[Path, str] = {}
    with _progress() as progress:
        done = len(cells) - len(waiting)
        bar = progress.add_task("training", total=len(cells), completed=done, note=f"{done} were there" if done else "")
        for cell, failure in _outcomes(waiting, train, min(jobs, len(waiting)), threads):
            if failure is not None:
                failures[cell.directory] = failure
                progress.console.print(Text(f"{cell.name} failed: {failure}", style="red"))
            progress.update(bar, advance=1, note=cell.name)
            done += 1
            if failure is None and not progress.console.is_terminal:  # no bar there: a line for the log
                progress.console.print(f"{cell.name} trained ({done}/{len(cells)})", highlight=False)
    return failures


def run_cell(cell: Cell, train: Train, threads: int | None = None) -> str | None:
    """Train one cell; the error in one line if it failed, with the traceback in `error.txt` beside what it wrote."""
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        _train(cell, train)
    except Exception as error:
        cell.directory.mkdir(parents=True, exist_ok=True)
        write_text(cell.directory / FAILURE, traceback.format_exc())
        return f"{type(error).__name__}: {error}".splitlines()[0]
    (cell.directory / FAILURE).unlink(missing_ok=True)
    return None if cell.finished else f"the run ended without {SUMMARY}"


def _train(cell: Cell, train: Train) -> None:
    if (cell.directory / LAST).is_file():
        try:
            train(cell.config, cell.directory, progress=False)
            return
        except InputError:  # no checkpoint of it can be used; what it held comes again from the seed
            pass
    if is_run(cell.directory) or (cell.directory / FAILURE).is_file():
        shutil.rmtree(cell.directory)
    train(cell.config, directory=cell.directory, progress=False)


def _outcomes(cells: Sequence[Cell], train: Train, jobs: int, threads: int) -> Iterator[tuple[Cell, str | None]]:
    if jobs <= 1:
        for cell in cells:
            yield cell, run_cell(cell, train)
        return
    stop = Stop()
    waiting = takewhile(lambda _: not stop.requested, enumerate(cells))
    # Processes, not threads: training holds global state (random numbers, the trainer). Workers start with the
    # thread count in their environment, so that matrix products do not fight over the cores.
    with parallel_config(backend="loky", inner_max_num_threads=threads), stop.watched():
        tasks = (delayed(_in_worker)(index, cell, train, threads) for index, cell in waiting)
        try:
            for ended in Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs)(tasks):
                stop.requested |= ended.stopped
                if not ended.stopped:
                    yield cells[ended.index], ended.failure
        except RuntimeError:  # an idle worker may have died of the same signal, which breaks the pool
            if not stop.requested:
                raise
    if stop.requested:
        raise KeyboardInterrupt


@dataclass(frozen=True)
class Ended:
    """How a cell ended in its worker. An interrupt is a value here: raised, it would kill the workers beside it."""

    index: int
    failure: str | None = None
    stopped: bool = False


def _in_worker(index: int, cell: Cell, train: Train, threads: int) -> Ended:
    try:
        return Ended(index, run_cell(cell, train, threads))
    except KeyboardInterrupt:
        return Ended(index, stopped=True)


class Stop:
    """Turns the first Ctrl-C into a flag. It reaches the workers too, which need a moment to save what they have.

    The second one stops at once; runs then go on from their latest regular checkpoint.
    """

    def __init__(self) -> None:
        self.requested = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch inside the block; only the main thread may, in others Ctrl-C is not ours."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _note(self, number: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def _progress() -> Progress:
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    columns += [TextColumn("left"), TimeRemainingColumn(), TextColumn("[dim]{task.fields[note]}[/]")]
    return Progress(*columns, console=Console(stderr=True))
