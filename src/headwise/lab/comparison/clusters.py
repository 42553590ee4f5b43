"""Launchers that send runs to other machines as tasks: Ray and Dask. All machines see the same files under the same
paths.

The package of each is an extra, imported only when its launcher is used.
"""

import importlib.util
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import torch

from headwise.errors import InputError, in_a_line
from headwise.lab.comparison.launching import Results, Stop, asked, cores, share_cores
from headwise.lab.comparison.workers import Ended, Work, perform
from headwise.training.config import RunConfig

CONNECT = 10.0  # seconds to wait for a scheduler and a first worker

Task = TypeVar("Task")


@dataclass(frozen=True)
class Ray:
    """Tasks of Ray (`pip install 'headwise[ray]'`). A task whose worker is killed is tried again by Ray, three times.

    Not by Ray's backend of joblib, which hands the results over when all have ended.

    Args:
        address: of a running cluster, host:6379, or `auto` for the one that this machine belongs to; null (default)
            starts Ray here, for as long as the command takes.
        cpus: that a run is given; null (default) is one for each of training.processes.
        gpus: that a run is given; two runs share one at 0.5; default 0.
    """

    here: ClassVar[bool] = False

    address: str | None = None
    cpus: int | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        at_least_one(cpus=self.cpus)

    def check(self, base: RunConfig) -> None:
        installed("ray", "ray")
        if self.address is None:
            room = {"CPU": float(cores()), "GPU": float(torch.cuda.device_count())}
        else:
            with self._connected() as ray:
                room = ray.cluster_resources()
        for name, needed in self._needs(base).items():
            if needed > room.get(name, 0):
                raise InputError(f"launcher=ray: a run takes {needed:g} {name}, this Ray has {room.get(name, 0):g}")

    def share(self, jobs: int | None, runs: int, base: RunConfig) -> tuple[int, int]:
        return asked(jobs, runs), base.training.threads or self.cpus or base.training.processes

    def results(self, works: Iterable[Work], jobs: int, threads: int, stop: Stop, folder: Path) -> Results:
        stop.tell = at_once
        running: dict[Any, Work] = {}
        with self._connected() as ray:
            from ray.exceptions import RayError

            def begin(work: Work) -> Any:
                needs = self._needs(work.run.config)
                return ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"])(perform).remote(work)

            try:
                for task, work in side_by_side(works, jobs, begin, lambda: ray.wait(list(running))[0][0], running):
                    try:
                        yield ray.get(task)
                    except RayError as error:
                        yield Ended(work.index, lost=f"its worker of Ray was lost ({in_a_line(error)})")
            finally:
                for task in running:
                    ray.cancel(task, force=True)

    def _needs(self, config: RunConfig) -> dict[str, float]:
        return {"CPU": self.cpus or config.training.processes, "GPU": self.gpus}

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """The package, connected to the cluster, or to the one that the program around us is connected to."""
        import ray

        if ray.is_initialized():
            yield ray
            return
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        own = {"num_cpus": cores()} if self.address is None else {}
        try:
            reach(self.address)  # Ray itself would try for two minutes, and then end this process
            ray.init(address=self.address, **quiet, **own)
        except (OSError, ValueError) as error:
            raise InputError(f"launcher.address={self.address}: no Ray there ({in_a_line(error)})") from None
        try:
            yield ray
        finally:
            ray.shutdown()


@dataclass(frozen=True)
class Dask:
    """Tasks of Dask (`pip install 'headwise[dask]'`). One whose worker is killed is tried again by Dask, three times.

    Not by Dask's backend of joblib, where such a worker ends the whole comparison, and Ctrl-C loses sight of the tasks.
    Workers must run one task at a time (`dask worker --nthreads 1`), since training holds global state.

    Args:
        address: of the scheduler, tcp://host:8786; null (default) starts workers here, for as long as the command
            takes.
    """

    here: ClassVar[bool] = False

    address: str | None = None

    def check(self, base: RunConfig) -> None:
        installed("dask", "distributed")
        if base.training.processes > 1:
            raise InputError(
                f"training.processes={base.training.processes}: a worker of Dask may start no processes; choose "
                "another launcher, or 1"
            )
        if self.address is not None:
            with self._connected():
                pass

    def share(self, jobs: int | None, runs: int, base: RunConfig) -> tuple[int, int]:
        if self.address is None:
            return share_cores(jobs, runs, base)
        return asked(jobs, runs), base.training.threads or 1

    def results(self, works: Iterable[Work], jobs: int, threads: int, stop: Stop, folder: Path) -> Results:
        from distributed import KilledWorker, as_completed

        stop.tell = at_once
        running: dict[Any, Work] = {}
        with self._here(jobs) if self.address is None else self._connected() as client:
            ended = as_completed(loop=client.loop)

            def begin(work: Work) -> Any:
                task = client.submit(perform, work, pure=False)
                ended.add(task)
                return task

            try:
                for task, work in side_by_side(works, jobs, begin, lambda: next(ended), running):
                    try:
                        yield task.result()
                    except (KilledWorker, CancelledError) as error:
                        yield Ended(work.index, lost=f"its worker of Dask was lost ({in_a_line(error)})")
            finally:
                if running:
                    _abandon(client, list(running))

    @contextmanager
    def _here(self, jobs: int) -> Iterator[Any]:
        """A client of workers on this machine."""
        from distributed import Client, LocalCluster

        quiet = {"dashboard_address": ":0", "silence_logs": logging.CRITICAL}
        with LocalCluster(n_workers=jobs, threads_per_worker=1, **quiet) as cluster, Client(cluster) as client:
            yield client

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A client of the cluster at the address."""
        from distributed import Client

        where = f"launcher.address={self.address}"
        try:
            reach(self.address)
            client = Client(self.address, timeout=CONNECT)
        except (OSError, ValueError) as error:
            raise InputError(f"{where}: no scheduler of Dask there ({in_a_line(error)})") from None
        with client:
            try:
                client.wait_for_workers(1, timeout=CONNECT)
            except TimeoutError:
                raise InputError(f"{where}: no worker there after {CONNECT:.0f} s") from None
            if any(threads > 1 for threads in client.nthreads().values()):
                raise InputError(
                    f"{where}: workers there run several tasks at once, which would mix up their random numbers; start "
                    "them with dask worker --nthreads 1"
                )
            yield client


def side_by_side(
    works: Iterable[Work],
    jobs: int,
    begin: Callable[[Work], Task],
    wait: Callable[[], Task],
    running: dict[Task, Work],
) -> Iterator[tuple[Task, Work]]:
    """Begin so many tasks, and another whenever one has ended; the tasks as they end.

    Args:
        works: taken one by one.
        jobs: tasks at a time.
        begin: sends one off.
        wait: for the next of those `running` to end.
        running: kept up to date, so that what is left can be ended.
    """
    waiting = iter(works)
    while True:
        for work in islice(waiting, jobs - len(running)):
            running[begin(work)] = work
        if not running:
            return
        task = wait()
        yield task, running.pop(task)


def _abandon(client: Any, tasks: list[Any]) -> None:
    """End tasks of Dask that nobody waits for: those that have begun can be told nothing, so their workers restart."""
    own = {task.key for task in tasks}
    training = [worker for worker, keys in client.processing().items() if own & set(keys)]
    client.cancel(tasks, force=True)  # first, or the restarted workers would be given them again
    client.restart_workers(training, raise_for_error=False)


def at_once() -> None:
    """What runs elsewhere does not hear our signals and is not waited for."""
    raise KeyboardInterrupt


def reach(address: str | None) -> None:
    """Look whether anything listens at host:port, where an address names one.

    Raises:
        OSError: nothing does.
        ValueError: the port is no number.
    """
    if address is None:
        return
    place = urlsplit(address if "//" in address else f"//{address}")
    if place.hostname and place.port:
        socket.create_connection((place.hostname, place.port), CONNECT).close()


def installed(extra: str, module: str, key: str = "launcher") -> None:
    """Refuse `key=extra` without the package that it needs.

    Raises:
        InputError: with the command that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise InputError(f"{key}={extra}: not installed; pip install 'headwise[{extra}]'")


def at_least_one(**values: int | None) -> None:
    for key, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"{key}={value}; choose 1 or more")
