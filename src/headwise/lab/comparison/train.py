"""The runs of a comparison, one for each arm and seed, trained wherever the launcher puts them and never twice.

A comparison that was stopped goes on where it was: finished runs are kept, one that was interrupted resumes from its
checkpoint, one that failed is tried again.
"""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from headwise.errors import StorageError
from headwise.lab.comparison.display import Display
from headwise.lab.comparison.launching import Launcher, Stop, WorkerLostError
from headwise.lab.comparison.runs import PlannedRun, Train
from headwise.lab.comparison.workers import Work


class Stopped(KeyboardInterrupt):
    """A signal ended the work on several runs; the same with output=`output` goes on.

    Attributes:
        output: its directory.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        super().__init__(f"stopped; {kept(output)}")


def train_runs(
    runs: Sequence[PlannedRun], train: Train, launcher: Launcher, jobs: int, threads: int, output: Path
) -> dict[Path, str]:
    """Train the runs that are not finished.

    Args:
        runs: of the comparison, or of all comparisons of a scaling.
        train: what trains one.
        launcher: where.
        jobs: runs side by side at most.
        threads: of torch for each.
        output: of the whole work.

    Returns:
        what went wrong, by the run's directory; a run that is not in it has a summary. A failure ends its own run only.

    Raises:
        InputError: a part of a run that other processes would not find.
        Stopped: Ctrl-C or SIGTERM; workers have saved what they had, or were ended.
        StorageError: no space; runs beside the one that met it were stopped in good order.
        WorkerLostError: a worker was killed.
    """
    waiting = [run for run in runs if not run.finished]
    if not (launcher.here and jobs == 1):
        pickle.dumps([run.config for run in waiting])  # what cannot travel is said here, and not in each worker
    failures: dict[Path, str] = {}
    stop, unwritable = Stop(), None
    display = Display(runs)

    def works() -> Iterator[Work]:
        for index, run in enumerate(waiting):
            if stop.requested:
                return
            display.begin(run)
            yield Work.of(index, run, train, threads)

    try:
        with display, stop.watched(), closing(launcher.results(works(), jobs, threads, stop, output)) as results:
            for ended in results if waiting else ():
                run = waiting[ended.index]
                unwritable = unwritable or ended.unwritable
                if ended.stopped or ended.unwritable:
                    stop.request()
                else:
                    failure = ended.lost or ended.failure
                    display.end(run, failure)
                    if failure is not None:
                        failures[run.directory] = failure
    except KeyboardInterrupt:
        if unwritable is None:
            raise Stopped(output) from None
    except WorkerLostError as error:
        raise WorkerLostError(f"{error}; {kept(output)}") from None
    if unwritable is not None:
        raise StorageError(f"{unwritable}; {kept(output)}")
    if stop.requested:
        raise Stopped(output)
    return failures


def kept(output: Path) -> str:
    """What a user whose command ended early may count on."""
    return f"finished runs are kept, the same command with output={output} goes on"
