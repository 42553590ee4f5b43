"""Launching: what every launcher offers, and the one for processes of this machine.

Processes, tasks and jobs are those of joblib, Ray, Dask and submitit. A run is known by its directory, so results do
not depend on the launcher.
"""

import multiprocessing
import os
import secrets
import warnings
from collections.abc import Callable, Generator, Iterable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from joblib import Parallel, delayed, parallel_config

from headwise.errors import InputError
from headwise.lab.comparison.workers import Ended, Stopping, Work, enter_pool, perform, perform_in_pool
from headwise.training.config import RunConfig
from headwise.training.interruption import Interruption

Results = Generator[Ended, None, None]
"""How runs ended, as they end; closed early, it ends what still runs."""


class WorkerLostError(RuntimeError):
    """A process, task or job that trained a run was killed or crashed."""


class Stop(Interruption):
    """The first Ctrl-C or SIGTERM, or a full disk: no further run is begun, and workers are told once."""

    def __init__(self) -> None:
        super().__init__()
        self.tell: Callable[[], None] = lambda: None

    def request(self) -> None:
        """Ask for the end."""
        if not self.requested:
            self.requested = True
            self.tell()

    def _note(self, number: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.request()


class Launcher(Protocol):
    """What every launcher offers; `here` says whether the runs share this machine's cores and memory."""

    here: ClassVar[bool]

    def check(self, base: RunConfig) -> None:
        """Refuse what cannot work.

        Raises:
            InputError: a package that is not installed, a cluster that does not answer, or settings of the runs that
                do not fit.
        """

    def share(self, jobs: int | None, runs: int, base: RunConfig) -> tuple[int, int]:
        """Runs side by side at most, and torch threads for each.

        Args:
            jobs: as asked for; None elsewhere than on this machine leaves it to the launcher's own scheduler.
            runs: how many there are.
            base: one of their configurations.
        """

    def results(self, works: Iterable[Work], jobs: int, threads: int, stop: Stop, folder: Path) -> Results:
        """How the runs ended, as they end.

        Args:
            works: taken one by one when there is room for another.
            jobs: runs side by side at most.
            threads: of torch for each; those elsewhere take it from the work.
            stop: its `tell` is set here.
            folder: for logs, of a launcher that writes some.

        Raises:
            KeyboardInterrupt: at once, where runs are not waited for.
            WorkerLostError: a worker ended, and with it what ran beside it.
        """


@dataclass(frozen=True)
class Local:
    """Processes on this machine, through joblib."""

    here: ClassVar[bool] = True

    def check(self, base: RunConfig) -> None:
        pass

    def share(self, jobs: int | None, runs: int, base: RunConfig) -> tuple[int, int]:
        return share_cores(jobs, runs, base)

    def results(self, works: Iterable[Work], jobs: int, threads: int, stop: Stop, folder: Path) -> Results:
        if jobs == 1:
            yield from (perform(replace(work, threads=None), Stopping()) for work in works)
            return
        # Processes, not threads: training holds global state. Workers begin with their share of the cores in the
        # environment, and are ours alone: one that was told to stop must not serve another call.
        entering = {"initializer": enter_pool, "initargs": (os.getpid(), secrets.token_hex(4))}
        stop.tell = _terminate_workers
        with parallel_config("loky", inner_max_num_threads=threads, **entering):  # one task a run, as they end
            parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch=jobs, batch_size=1)
        try:
            with warnings.catch_warnings():  # as an error it would end joblib's own thread, and we would wait for ever
                warnings.filterwarnings("ignore", "A worker stopped while some jobs were given")
                yield from parallel(delayed(perform_in_pool)(work) for work in works)
        except BrokenProcessPool:  # told to stop, a worker that has not begun yet simply ends
            if not stop.requested:
                raise WorkerLostError("a process was killed (out of memory?)") from None


def share_cores(jobs: int | None, runs: int, base: RunConfig) -> tuple[int, int]:
    """Runs side by side on this machine, and torch threads for each (all its processes together)."""
    accelerated = base.device in ("cuda", "mps") or (base.device == "auto" and _accelerator())
    room = 1 if accelerated else max(1, cores() // base.training.processes)
    side_by_side = min(asked(jobs, runs), room if jobs is None else runs)
    return side_by_side, base.training.threads or max(1, cores() // side_by_side)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _accelerator() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def asked(jobs: int | None, runs: int) -> int:
    """Runs side by side as asked for, all by default, and never more than there are."""
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs={jobs}: choose 1 or more processes")
    return min(jobs or runs, runs)


def _terminate_workers() -> None:
    from joblib.externals.loky.backend.process import LokyProcess

    for process in multiprocessing.active_children():
        if isinstance(process, LokyProcess):
            process.terminate()
