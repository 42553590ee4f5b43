"""Launcher that sends runs to Slurm as jobs, through submitit. All machines see the same files under the same paths."""

import shutil
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from headwise.errors import InputError, in_a_line
from headwise.lab.comparison.clusters import at_least_one, at_once, installed
from headwise.lab.comparison.launching import Results, Stop, asked
from headwise.lab.comparison.workers import Ended, Work, perform
from headwise.training.config import RunConfig

GRACE = 30.0  # seconds that a cancelled job has to save what it has, Slurm's own default
LEAST_MINUTES = 3  # submitit has a job told 90 seconds before its limit; it must have begun by then
POLL = 1.0  # seconds between looks for the result files of jobs


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
        at_least_one(cpus=self.cpus)
        if self.minutes < LEAST_MINUTES:
            raise ValueError(f"minutes={self.minutes}; choose {LEAST_MINUTES} or more")

    def check(self, base: RunConfig) -> None:
        installed("slurm", "submitit")
        if self.cluster == "slurm" and shutil.which("srun") is None:
            raise InputError("launcher=slurm: no srun on this machine; call it where sbatch works")

    def share(self, jobs: int | None, runs: int, base: RunConfig) -> tuple[int, int]:
        if jobs is not None and self.cluster == "local":
            raise InputError(f"jobs={jobs}: launcher.cluster=local starts all jobs at once; leave it out")
        cpus = self.cpus or base.training.processes
        return asked(jobs, runs), base.training.threads or cpus

    def results(self, works: Iterable[Work], jobs: int, threads: int, stop: Stop, folder: Path) -> Results:
        from submitit import AutoExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.helpers import as_completed

        stop.tell = at_once
        works = list(works)
        executor = AutoExecutor(folder / "slurm", cluster=self.cluster)
        executor.update_parameters(**self._parameters(works, jobs))
        try:
            with executor.batch():
                submitted = [executor.submit(_Requeued(), work) for work in works]
        except (FailedJobError, FailedSubmissionError) as error:
            raise InputError(f"launcher=slurm: sbatch refuses the jobs ({in_a_line(error)})") from None
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
    """`perform`, for submitit: when time is up or the job is preempted, the run saves, and the job is queued again.

    Submitit's own handler would end the process at once, in the middle of an update. It is called when the run has
    saved what it has.
    """

    def __call__(self, work: Work) -> Ended:
        from submitit.core.job_environment import JobEnvironment

        number = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        requeue, told = signal.getsignal(number), False

        def save(*_: object) -> None:
            nonlocal told
            told = True
            signal.raise_signal(signal.SIGTERM)

        signal.signal(number, save)
        ended = perform(work)
        signal.signal(number, requeue)
        if ended.stopped and told:
            signal.raise_signal(number)
        if ended.stopped:  # cancelled, or preempted and begun again by Slurm itself: no result, as the run has none
            sys.exit(1)
        return ended

    def checkpoint(self, work: Work) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, work)
