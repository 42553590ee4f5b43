"""The runs of a comparison, one for each arm and seed, trained side by side and never twice.

A comparison that was stopped goes on where it was: finished runs are kept, one that was interrupted resumes from its
checkpoint, one that failed is tried again.
"""

import pickle
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
from headwise.files import write_text
from headwise.lab.outputs import FAILURE
from headwise.lab.records import is_run, readable_mapping
from headwise.training.config import RunConfig
from headwise.training.files import CHECKPOINTS, LAST, SUMMARY


class Train(Protocol):
    """As `headwise.training.run.train`: trains one configuration, or resumes a run, and returns its directory."""

    def __call__(
        self, config: RunConfig, resume: Path | None = None, *, directory: Path | None = None, progress: bool = True
    ) -> Path: ...


@dataclass(frozen=True)
class PlannedRun:
    """An arm with a seed, to be trained in `directory`; `size` says which one where arms have several."""

    label: str
    seed: int
    config: RunConfig
    directory: Path
    size: str = ""

    @property
    def finished(self) -> bool:
        return bool(readable_mapping(self.directory / SUMMARY))

    @property
    def name(self) -> str:
        return f"{self.size} {self.label}, seed {self.seed}".strip()


def train_runs(runs: Sequence[PlannedRun], train: Train, jobs: int, threads: int) -> dict[Path, str]:
    """Train the runs that are not finished, `jobs` at a time with `threads` torch threads each.

    Returns:
        what went wrong, by the run's directory; a run that is not in it has a summary. A failure ends its own run
        only.
    """
    waiting = [run for run in runs if not run.finished]
    failures: dict[Path, str] = {}
    with _progress() as progress:
        done = len(runs) - len(waiting)
        bar = progress.add_task("training", total=len(runs), completed=done, note=f"{done} were there" if done else "")
        for run, failure in _outcomes(waiting, train, min(jobs, len(waiting)), threads):
            if failure is not None:
                failures[run.directory] = failure
                progress.console.print(Text(f"{run.name} failed: {failure}", style="red"))
            progress.update(bar, advance=1, note=run.name)
            done += 1
            if failure is None and not progress.console.is_terminal:  # no bar there: a line for the log
                progress.console.print(f"{run.name} trained ({done}/{len(runs)})", highlight=False)
    return failures


def train_run(run: PlannedRun, train: Train, threads: int | None = None) -> str | None:
    """Train one run; the error in one line if it failed, with the traceback in `error.txt` beside what it wrote."""
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        _train(run, train)
    except Exception as error:
        run.directory.mkdir(parents=True, exist_ok=True)
        write_text(run.directory / FAILURE, traceback.format_exc())
        return f"{type(error).__name__}: {error}".splitlines()[0]
    (run.directory / FAILURE).unlink(missing_ok=True)
    return None if run.finished else f"the run ended without {SUMMARY}"


def _train(run: PlannedRun, train: Train) -> None:
    if (run.directory / CHECKPOINTS / LAST).is_file():
        try:
            train(run.config, run.directory, progress=False)
            return
        except InputError:  # no checkpoint of it can be used; what it held comes again from the seed
            pass
    if is_run(run.directory) or (run.directory / FAILURE).is_file():
        shutil.rmtree(run.directory)
    train(run.config, directory=run.directory, progress=False)


def _outcomes(
    runs: Sequence[PlannedRun], train: Train, jobs: int, threads: int
) -> Iterator[tuple[PlannedRun, str | None]]:
    if jobs <= 1:
        for run in runs:
            yield run, train_run(run, train)
        return
    pickle.dumps([run.config for run in runs])  # what cannot travel is said here, and not in each worker
    interruption = Interruption()
    waiting = takewhile(lambda _: not interruption.requested, enumerate(runs))
    # Processes, not threads: training holds global state (random numbers, the trainer). Workers start with the
    # thread count in their environment, so that matrix products do not fight over the cores.
    with parallel_config(backend="loky", inner_max_num_threads=threads), interruption.watched():
        tasks = (delayed(_in_worker)(index, run, train, threads) for index, run in waiting)
        try:
            for ended in Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs)(tasks):
                interruption.requested |= ended.stopped
                if not ended.stopped:
                    yield runs[ended.index], ended.failure
        except RuntimeError:  # an idle worker may have died of the same signal, which breaks the pool
            if not interruption.requested:
                raise
    if interruption.requested:
        raise KeyboardInterrupt


@dataclass(frozen=True)
class Ended:
    """How a run ended in its worker. An interrupt is a value here: raised, it would kill the workers beside it."""

    index: int
    failure: str | None = None
    stopped: bool = False


def _in_worker(index: int, run: PlannedRun, train: Train, threads: int) -> Ended:
    try:
        return Ended(index, train_run(run, train, threads))
    except KeyboardInterrupt:
        return Ended(index, stopped=True)


class Interruption:
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
