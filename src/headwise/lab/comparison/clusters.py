"""Launchers that send runs to other machines: Ray, Dask, Slurm. All machines see the same files under the same paths.

The package of each is an extra, imported only when its launcher is used.
"""

import importlib.util
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from headwise.errors import InputError
from headwise.lab.comparison.launching import Stop, WorkerLostError, asked, parallel_results, share_cores
from headwise.lab.comparison.workers import Ended, Work, perform
from headwise.training.config import RunConfig

GRACE = 30.0  # seconds that a cancelled job of Slurm has to save what it has, Slurm's own default
LEAST_MINUTES = 3  # submitit has a job told 90 seconds before its limit; it must have begun by then
CONNECT = 30.0  # seconds to wait for Dask's scheduler and workers
POLL = 1.0  # seconds between looks for the result files of jobs


@dataclass(frozen=True)
class Ray:
    """Tasks of Ray (`pip install 'headwise[ray]'`). A task whose worker is killed is tried again by Ray, three times.

    Not by Ray's backend of joblib, which hands the results over when all have ended.

    Args:
        address: of a running cluster, `auto` for the one that this machine belongs to; null (default) starts Ray here,
            for as long as the command takes.
        cpus: that a run is given; null (default) is one for each of training.processes.
        gpus: that a run is given; two runs share one at 0.5; default 0.
    """

    here: ClassVar[bool] = False

    address: str | None = None
    cpus: int | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        _at_least_one(cpus=self.cpus)

    def check(self, base: RunConfig) -> None:
        _installed("ray", "ray")

    def share(self, jobs: int | None, runs: int, base: RunConfig) -> tuple[int, int]:
        return asked(jobs, runs), base.training.threads or self.cpus or base.training.processes

    def results(self, works: Iterable[Work], jobs: int, threads: int, stop: Stop, folder: Path) -> Iterator[Ended]:
        import ray
        from ray.exceptions import RayError

        stop.tell = _at_once
        ours = not ray.is_initialized()
        if ours:
            try:
                ray.init(address=self.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            except (ConnectionError, ValueError) as error:
                raise InputError(f"launcher.address={self.address}: no Ray there ({_line(error)})") from None
        running: dict[Any, Work] = {}
        try:
            room = ray.cluster_resources()
            waiting = deque(works)
            needs = {"CPU": self.cpus or waiting[0].run.config.training.processes, "GPU": self.gpus}
            for name, needed in needs.items():
                if needed > room.get(name, 0):
                    raise InputError(f"launcher=ray: a run takes {needed:g} {name}, this Ray has {room.get(name, 0):g}")
            task = ray.remote(num_cpus=needs["CPU"], num_gpus=needs["GPU"])(perform)
            while waiting or running:
                while waiting and len(running) < jobs:
                    work = waiting.popleft()
                    running[task.remote(work)] = work
                (ended, *_), _ = ray.wait(list(running))
                work = running.pop(ended)
                try:
                    yield ray.get(ended)
                except RayError as error:
                    yield Ended(work.index, lost=f"its worker of Ray was lost ({_line(error)})")
        finally:
            for reference in running:
                ray.cancel(reference, force=True)
            if ours:
                ray.shutdown()


@dataclass(frozen=True)
class Dask:
    """Dask's joblib backend (`pip install 'headwise[dask]'`): each run is a task.

    Workers must run one task at a time (`dask worker --nthreads 1`), since training holds global state.

    Args:
        address: of the scheduler, tcp://host:8786; null (default) starts workers here, for as long as the command
            takes.
    """

    here: ClassVar[bool] = False

    address: str | None = None

    def check(self, base: RunConfig) -> None:
        _installed("dask", "distributed")
        if base.training.processes > 1:
            raise InputError(
                f"training.processes={base.training.processes}: a worker of Dask may start no processes; choose "
                "another launcher, or 1"
            )

    def share(self, jobs: int | None, runs: int, base: RunConfig) -> tuple[int, int]:
        if self.address is None:
            return share_cores(jobs, runs, base)
        return asked(jobs, runs), base.training.threads or 1

    def results(self, works: Iterable[Work], jobs: int, threads: int, stop: Stop, folder: Path) -> Iterator[Ended]:
        from distributed import KilledWorker

        with self._client(jobs) as client:
            stop.tell = partial(_abandon, client)
            try:
                yield from parallel_results(works, jobs, backend="dask", client=client)
            except KilledWorker:
                raise WorkerLostError("workers of Dask were killed again and again (out of memory?)") from None

    @contextmanager
    def _client(self, jobs: int) -> Iterator[Any]:
        from distributed import Client, LocalCluster

        if self.address is None:
            here = LocalCluster(
                n_workers=max(2, jobs), threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
            )
            with here as cluster, Client(cluster) as client:
                yield client
            return
        where = f"launcher.address={self.address}"
        try:
            client = Client(self.address, timeout=CONNECT)
        except (OSError, ValueError) as error:
            raise InputError(f"{where}: no scheduler of Dask there ({_line(error)})") from None
        with client:
            try:
                client.wait_for_workers(2, timeout=CONNECT)
            except TimeoutError:
                raise InputError(f"{where}: fewer than two workers there after {CONNECT:.0f} s") from None
            if any(threads > 1 for threads in client.nthreads().values()):
                raise InputError(
                    f"{where}: workers there run several tasks at once, which would mix up their random numbers; start "
                    "them with dask worker --nthreads 1"
                )
            yield client


@dataclass(frozen=True)
class Slurm:
    """Jobs of Slurm, through submitit (`pip install 'headwise[slurm]'`): each run is a task of one job array.

    A job that comes to its time limit or is preempted is submitted again by itself and goes on from its checkpoint.
    Logs are in `slurm/` of the output.

    Args:
        partition, account: as for sbatch; null (default) leaves them to the cluster.
        minutes: time limit of a job, 3 or more, as it is told 90 seconds before; default 60.
        memory: of a job in GB; null (default) is the cluster's default.
        cpus: of a job; null (default) is one for each of training.processes.
        gpus: of a job; default 0.
        cluster: `local` runs the jobs as processes of this machine, all at once, to try a command where there is no
            Slurm; nothing is limited there.
    """

    here: ClassVar[bool] = False

    partition: str | None = None
    account: str | None = None
    minutes: int = 60
    memory: float | None = None
    cpus: int | None = None
    gpus: int = 0
    cluster: Literal["slurm", "local"] = "slurm"

    def __post_init__(self) -> None:
        _at_least_one(cpus=self.cpus)
        if self.minutes < LEAST_MINUTES:
            raise ValueError(f"minutes={self.minutes}; choose {LEAST_MINUTES} or more")

    def check(self, base: RunConfig) -> None:
        _installed("slurm", "submitit")

    def share(self, jobs: int | None, runs: int, base: RunConfig) -> tuple[int, int]:
        if jobs is not None and self.cluster == "local":
            raise InputError(f"jobs={jobs}: launcher.cluster=local starts all jobs at once; leave it out")
        cpus = self.cpus or base.training.processes
        return asked(jobs, runs), base.training.threads or cpus

    def results(self, works: Iterable[Work], jobs: int, threads: int, stop: Stop, folder: Path) -> Iterator[Ended]:
        from submitit import AutoExecutor
        from submitit.helpers import as_completed

        stop.tell = _at_once
        works = list(works)
        try:
            executor = AutoExecutor(folder / "slurm", cluster=self.cluster)
        except RuntimeError:
            raise InputError("launcher=slurm: no srun on this machine; call it where sbatch works") from None
        executor.update_parameters(**self._parameters(works, jobs))
        with executor.batch():
            submitted = [executor.submit(_Requeued(), work) for work in works]
        try:
            for job in as_completed(submitted, poll_frequency=POLL):
                yield self._ended(works[submitted.index(job)], job)
        except BaseException:
            for job in submitted:
                if not job.done():
                    job.cancel(check=False)
            deadline = time.monotonic() + GRACE
            while time.monotonic() < deadline and not all(job.done(force_check=True) for job in submitted):
                time.sleep(POLL)
            raise

    def _parameters(self, works: Sequence[Work], jobs: int) -> dict[str, Any]:
        processes = works[0].run.config.training.processes
        known = {
            "name": "headwise",
            "timeout_min": self.minutes,
            "cpus_per_task": self.cpus or processes,
            "gpus_per_node": self.gpus,
            "mem_gb": self.memory,
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "slurm_array_parallelism": jobs,
        }
        return {name: value for name, value in known.items() if value is not None}

    def _ended(self, work: Work, job: Any) -> Ended:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            ended: Ended = job.result()
            return ended
        except (FailedJobError, UncompletedJobError):
            return Ended(work.index, lost=f"job {job.job_id} ended with state {job.state}; see {job.paths.stderr}")


class _Requeued:
    """`perform`, for submitit: when time is up or the job is preempted, it is submitted again."""

    def __call__(self, work: Work) -> Ended:
        return perform(work)

    def checkpoint(self, work: Work) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, work)


def _abandon(client: Any) -> None:
    """Restart the workers of Dask that train for this client, and stop: a task that runs cannot be told anything."""
    own = set(client.futures)
    mine = [worker for worker, keys in client.processing().items() if own & set(keys)]
    client.cancel(list(own), force=True)
    client.restart_workers(mine, raise_for_error=False)
    _at_once()


def _at_once() -> None:
    """What runs elsewhere does not hear our signals and is not waited for."""
    raise KeyboardInterrupt


def _installed(extra: str, module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise InputError(f"launcher={extra}: not installed; pip install 'headwise[{extra}]'")


def _at_least_one(**values: int | None) -> None:
    for key, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"{key}={value}; choose 1 or more")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
