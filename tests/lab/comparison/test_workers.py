"""Workers of a comparison on this machine: they end with their parent, whatever happens to it or to one of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headwise.lab.comparison.launching import WorkerLostError
from headwise.lab.comparison.train import Stopped
from tests.lab.comparison.workers import STARTED, Endless
from tests.lab.conftest import SCORES, run_comparison
from tests.processes import alive, within

ROOT = Path(__file__).parents[3]
ENDED = 10.0
STEPS = [
    (signal.SIGINT, "parent", "Stopped: stopped; finished runs are kept"),
    (signal.SIGTERM, "parent", "Stopped: stopped; finished runs are kept"),
    (signal.SIGKILL, "worker", "WorkerLostError: a process was killed (out of memory?); finished runs are kept"),
    (signal.SIGKILL, "parent", ""),
]


def main(output: str) -> None:
    """What the parent does in the test below: a comparison after the other, as each is ended."""
    for step in range(len(STEPS)):
        try:
            run_comparison(Path(output) / str(step), Endless(SCORES), ("baseline", "looped"), seeds=2, jobs=2)
        except (Stopped, WorkerLostError) as ended:
            print(f"{type(ended).__name__}: {ended}", flush=True)


def workers(folder: Path) -> list[int]:
    """Process ids, as the runs below the folder say them."""
    return [int(text) for file in folder.rglob("pid") if (text := file.read_text())]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in Linux's /proc")
def test_no_worker_outlives_the_comparison(tmp_path: Path) -> None:
    command = f"from tests.lab.comparison.test_workers import main; main({str(tmp_path)!r})"
    said = tmp_path / "said"
    with said.open("w") as file:  # no pipe, which what outlives the parent would keep open
        parent = subprocess.Popen([sys.executable, "-c", command], cwd=ROOT, stdout=file)
    try:
        for step, (number, victim, says) in enumerate(STEPS):
            folder = tmp_path / str(step)
            assert within(STARTED, lambda folder=folder: len(workers(folder)) == 2)
            first, second = workers(folder)
            os.kill(parent.pid if victim == "parent" else first, number)
            if says:
                assert within(STARTED, lambda step=step: len(said.read_text().splitlines()) > step)
                assert said.read_text().splitlines()[step].startswith(says)
            assert within(ENDED, lambda first=first, second=second: not alive(first) and not alive(second))
        assert parent.wait(STARTED) == -signal.SIGKILL
        assert len(said.read_text().splitlines()) == len(STEPS) - 1
        assert not list(tmp_path.rglob("error.txt"))
    finally:
        parent.kill()
        parent.wait(STARTED)
        for pid in workers(tmp_path):
            if is_worker(pid):
                os.kill(pid, signal.SIGKILL)


def is_worker(pid: int) -> bool:
    """Whether the process is one of joblib's: the number of one that has ended may be somebody else's by now."""
    try:
        return b"LokyProcess" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
