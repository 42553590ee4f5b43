"""Inside a worker: a run arrives, is trained, and how it ended goes back as a value.

A worker may be a process of this machine, or a thread, process or job of another one that sees the same files.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwise.errors import StorageError
from headwise.lab.comparison.runs import PlannedRun, Train, train_run
from headwise.training.orphans import end_with

OURS = "HEADWISE_"  # settings in the environment that a worker elsewhere must have, too


@dataclass(frozen=True)
class Work:
    """A run on its way to a worker.

    Attributes:
        index: its number among the runs that are sent.
        run: what is trained.
        train: what trains it.
        threads: of torch; None leaves them as they are.
        folder: from which relative paths count.
        environment: variables to be set.
    """

    index: int
    run: PlannedRun
    train: Train
    threads: int | None
    folder: str
    environment: dict[str, str]

    @classmethod
    def of(cls, index: int, run: PlannedRun, train: Train, threads: int) -> "Work":
        """What a worker needs to train `run` as it would be trained here."""
        ours = {name: value for name, value in os.environ.items() if name.startswith(OURS)}
        return cls(index, run, train, threads, str(Path.cwd()), ours)


@dataclass(frozen=True)
class Ended:
    """How a run ended in its worker. What ends the whole comparison is a value, too: raised, it would end the workers
    beside it in the middle of what they write.

    Attributes:
        index: of its work.
        failure: what went wrong with this run, in one line.
        stopped: it was interrupted and can be resumed.
        unwritable: the file that could not be written, with the reason.
        lost: its worker ended before it.
    """

    index: int
    failure: str | None = None
    stopped: bool = False
    unwritable: str | None = None
    lost: str | None = None


class Stopping:
    """Whether this worker was told to stop. Between runs that is noted, since an interrupt would break the pool."""

    def __init__(self) -> None:
        self.asked = self.busy = False

    def check(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Inside the block, in the main thread, a signal interrupts; the run at hand has handlers of its own."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.listen()
        self.busy = True
        try:
            yield
        finally:
            self.busy = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: Any) -> None:
        self.asked = True
        if self.busy:
            raise KeyboardInterrupt


_told = Stopping()  # to this worker


def perform(work: Work, told: Stopping = _told) -> Ended:
    """Train one run, unless this worker was told to stop."""
    os.environ.update(work.environment)
    with contextlib.chdir(work.folder), told.heard():
        try:
            told.check()
            return Ended(work.index, train_run(work.run, work.train, work.threads))
        except KeyboardInterrupt:
            return Ended(work.index, stopped=True)
        except StorageError as error:
            return Ended(work.index, unwritable=str(error))


def perform_in_pool(work: Work) -> Ended:
    """`perform`, in a process of a pool: joblib hands out the next run before it tells how this one ended, so a process
    that met a full disk begins no other."""
    ended = perform(work, _told)
    _told.asked |= ended.unwritable is not None
    return ended


def enter_pool(parent: int, pool: str) -> None:
    """Be a worker process of the process `parent` on this machine: end with it, and leave Ctrl-C to it.

    Args:
        parent: its process id.
        pool: name of the pool; joblib keeps the workers of one name for the next call.
    """
    os.setpgrp()  # Ctrl-C in a terminal reaches the parent alone, which passes it on once, as SIGTERM
    multiprocessing.set_start_method("spawn", force=True)  # loky's own way is unknown to processes started from here
    _told.listen()
    end_with(parent)
