"""A Dask that somebody else started: what Ctrl-C leaves there, and what is refused before anything is written."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError
from headwise.lab.comparison.clusters import Dask, Ray
from headwise.lab.comparison.train import Stopped
from tests.lab.comparison.test_workers import ROOT
from tests.lab.comparison.workers import STARTED
from tests.lab.conftest import SCORES, FakeTrain, run_comparison
from tests.processes import within

ARMS = ("baseline", "looped")
CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, protocol="tcp") as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


class Beating(FakeTrain):
    """Trains until its process ends, and shows that it does."""

    def __call__(self, config: Any, *args: Any, **settings: Any) -> Path:
        settings["directory"].mkdir(parents=True, exist_ok=True)
        while True:
            (settings["directory"] / "beat").write_text(str(os.getpid()))
            time.sleep(0.05)


def main(output: str, address: str) -> None:
    """What the command that is stopped does."""
    try:
        run_comparison(Path(output), Beating(SCORES), ARMS, seeds=2, jobs=2, launcher=Dask(address))
    except Stopped as stopped:
        print(stopped)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a scheduler with two workers in processes of their own."""
    pytest.importorskip("distributed", reason="distributed is an extra; pip install -e '.[dev]' brings it")
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    command = [sys.executable, str(script)]
    cluster = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}, **pipes)
    with cluster:
        yield cluster.stdout.readline().decode().strip()
        cluster.stdin.close()


# The package's own imports warn, and its connections stay open until the interpreter ends.
@pytest.mark.clusters
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stopped_comparison_leaves_the_cluster_to_the_next(address: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    code = f"from tests.lab.comparison.test_dask import main; main({str(output)!r}, {address!r})"
    stopped = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert within(STARTED, lambda: len(list(output.rglob("beat"))) == 2)
    stopped.send_signal(signal.SIGINT)
    said, _ = stopped.communicate(timeout=60)
    assert said.startswith("stopped; finished runs are kept")

    for beat in output.rglob("beat"):
        beat.unlink()
    result = run_comparison(tmp_path / "next", FakeTrain(SCORES), ARMS, seeds=2, jobs=2, launcher=Dask(address))
    assert result["arms"]["looped"]["values"] == SCORES["looped"][:2]
    assert not list(output.rglob("beat"))


@pytest.mark.parametrize(("launcher", "package"), [(Dask, "distributed"), (Ray, "ray")])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_address_where_nobody_answers_is_refused_before_anything_is_written(
    launcher: Any, package: str, tmp_path: Path, fake_train: FakeTrain
) -> None:
    pytest.importorskip(package, reason=f"{package} is an extra; pip install -e '.[dev]' brings it")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"^launcher\.address={where}: no .* there \(.*refused\)$"):
            run_comparison(tmp_path / "out", fake_train, ARMS, launcher=launcher(where))
    assert not (tmp_path / "out").exists()
