"""Workers of a comparison on this machine: they end with their parent, whatever happens to it or to one of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from headwise.lab.comparison.launching import WorkerLostError
from headwise.lab.comparison.train import Stopped
from tests.lab.conftest import SCORES, FakeTrain, run_comparison
from tests.processes import alive, within

ROOT = Path(__file__).parents[3]
STARTED = 120.0  # seconds, on a machine with much else to do
ENDED = 10.0


class Endless(FakeTrain):
    """Says which process it is in, and trains until it is stopped."""

    def __call__(self, config: Any, *args: Any, **settings: Any) -> Path:
        settings["directory"].mkdir(parents=True)
        (settings["directory"] / "pid").write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)


def main(output: str) -> None:
    """What the parent does in the tests below."""
    try:
        run_comparison(Path(output), Endless(SCORES), ("baseline", "looped"), seeds=2, jobs=2)
    except (Stopped, WorkerLostError) as ended:
        print(f"{type(ended).__name__}: {ended}")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in Linux's /proc")
@pytest.mark.parametrize(
    ("number", "victim", "says"),
    [
        (signal.SIGINT, "parent", "Stopped: stopped; finished runs are kept"),
        (signal.SIGTERM, "parent", "Stopped: stopped; finished runs are kept"),
        (signal.SIGKILL, "parent", ""),
        (signal.SIGKILL, "worker", "WorkerLostError: a process was killed (out of memory?); finished runs are kept"),
    ],
)
def test_no_worker_outlives_the_comparison(number: signal.Signals, victim: str, says: str, tmp_path: Path) -> None:
    command = f"from tests.lab.comparison.test_workers import main; main({str(tmp_path / 'out')!r})"
    parent = subprocess.Popen([sys.executable, "-c", command], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def workers() -> list[int]:
        return [int(text) for file in tmp_path.rglob("pid") if (text := file.read_text())]

    try:
        assert within(STARTED, lambda: len(workers()) == 2)
        first, second = workers()
        os.kill(parent.pid if victim == "parent" else first, number)
        said, _ = parent.communicate(timeout=60)
        assert said.startswith(says)
        assert len(said.splitlines()) == len(says.splitlines())
        assert within(ENDED, lambda: not alive(first) and not alive(second))
        assert not list(tmp_path.rglob("error.txt"))
    finally:
        parent.kill()
        for pid in workers():
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
