"""Launchers: the same result wherever the runs are trained; what is missing or cannot work is one line."""

import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headwise import cli
from headwise.commands.compare import Options
from headwise.errors import InputError, StorageError
from headwise.lab.comparison import clusters, launching, workers
from headwise.lab.comparison.clusters import Dask, Ray
from headwise.lab.comparison.compare import compare
from headwise.lab.comparison.launchers import LOCAL
from headwise.lab.comparison.launching import Launcher, Local, Stop, share_cores
from headwise.lab.comparison.runs import PlannedRun
from headwise.lab.comparison.slurm import Slurm
from headwise.lab.comparison.workers import Work
from headwise.models.sizes import ModelConfig
from headwise.schema import build
from headwise.training.checkpoints import read_checkpoint
from headwise.training.config import TrainingConfig, task_from_plain
from headwise.training.files import CHECKPOINTS, LAST, PROGRESS
from headwise.training.run import train
from tests.lab.comparison.workers import Full
from tests.lab.conftest import SCORES, FakeTrain, run_comparison, run_config

ARMS = ("baseline", "looped")


def launcher_of(value: Any) -> Launcher:
    return build(Options, {"arms": ["baseline"], "launcher": value}, "").launcher  # type: ignore[no-any-return]


# The packages' own imports warn of each other's versions, and their processes leave sockets to the interpreter's end.
@pytest.mark.clusters
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("launcher", "package"), [(Ray(), "ray"), (Dask(), "distributed"), (Slurm(cluster="local"), "submitit")]
)
def test_runs_elsewhere_give_what_runs_here_give(
    launcher: Launcher, package: str, tmp_path: Path, fake_train: FakeTrain
) -> None:
    pytest.importorskip(package, reason=f"{package} is an extra; pip install -e '.[dev]' brings it")
    train = FakeTrain(SCORES, failing=frozenset({("looped", 1)}))
    here = run_comparison(tmp_path / "here", train, ARMS, seeds=2)
    jobs = None if isinstance(launcher, Slurm) else 2
    elsewhere = run_comparison(tmp_path / "elsewhere", train, ARMS, seeds=2, launcher=launcher, jobs=jobs)
    assert elsewhere["arms"]["looped"]["failures"].keys() == {"1"}
    for result in (here, elsewhere):
        del result["how"], result["directory"]
    assert elsewhere == here
    # and goes on here with what is missing there
    fake_train.calls.clear()
    again = run_comparison(tmp_path / "elsewhere", fake_train, ARMS, seeds=2)
    assert fake_train.calls == [("looped", 1, "new")]
    assert again["arms"]["looped"]["values"] == SCORES["looped"][:2]


def test_a_launcher_is_a_name_or_a_name_with_settings() -> None:
    assert launcher_of("local") == Local()
    assert launcher_of({"name": "slurm", "partition": "gpu", "minutes": 90}) == Slurm(partition="gpu", minutes=90)
    assert launcher_of({"name": "ray", "gpus": 0.5}) == Ray(gpus=0.5)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("slrum", r"launcher\.name=slrum: unknown; allowed: local, ray, dask, slurm"),
        ({"name": "slurm", "queue": "gpu"}, r"launcher\.queue=gpu: unknown key; allowed in launcher: partition"),
        ({"name": "slurm", "minutes": 1}, r"minutes=1; choose 3 or more \(launcher\)"),
        ({"name": "dask", "address": 8786}, r"launcher\.address=8786: expected a word"),
    ],
)
def test_an_unknown_launcher_or_setting_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        launcher_of(value)


@pytest.mark.parametrize("name", ["ray", "dask", "slurm"])
def test_a_launcher_that_is_not_installed_names_its_extra_and_writes_nothing(
    name: str, tmp_path: Path, fake_train: FakeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda module: None)
    with pytest.raises(InputError, match=rf"launcher={name}: not installed; pip install 'headwise\[{name}\]'"):
        run_comparison(tmp_path / "out", fake_train, ARMS, launcher=launcher_of(name))
    assert not (tmp_path / "out").exists()


def test_runs_of_several_processes_share_the_cores_and_dask_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    base = run_config("baseline", device="cpu", training=TrainingConfig(updates=40, processes=2))
    assert share_cores(None, 9, base) == (4, 2)
    assert share_cores(None, 3, base) == (3, 2)
    assert share_cores(8, 9, base) == (8, 1)
    monkeypatch.setattr(clusters.importlib.util, "find_spec", lambda module: module)
    with pytest.raises(InputError, match=r"training\.processes=2: a worker of Dask may start no processes"):
        Dask().check(base)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_ends_the_comparison_in_one_line_and_it_goes_on(
    jobs: int, tmp_path: Path, fake_train: FakeTrain
) -> None:
    train = Full(SCORES)
    train.beside = jobs == 2
    with pytest.raises(StorageError, match=r"No space left on device.*finished runs are kept, the same command with"):
        run_comparison(tmp_path, train, ARMS, seeds=4, jobs=jobs)
    begun = {f"{run.parent.name} {run.name}" for run in tmp_path.glob("runs/*/*")}
    assert begun == {"baseline seed0", *(["baseline seed1"] if jobs == 2 else [])}  # and no further run
    assert len(list(tmp_path.glob("runs/*/*/summary.json"))) == 1
    assert not list(tmp_path.rglob("error.txt"))
    run_comparison(tmp_path, fake_train, ARMS, seeds=1)
    assert (tmp_path / "runs" / "looped" / "seed0" / "summary.json").is_file()


def test_a_process_that_met_a_full_disk_begins_no_other_run(
    tmp_path: Path, fake_train: FakeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    # joblib hands out the next one before the comparison hears of the full disk
    monkeypatch.setattr(workers, "_told", workers.Stopping())
    met, later = (PlannedRun("looped", seed, run_config("looped", seed=seed), tmp_path / str(seed)) for seed in (0, 1))
    assert "No space left" in str(workers.perform_in_pool(Work.of(0, met, Full(SCORES), 1)).unwritable)
    assert workers.perform_in_pool(Work.of(1, later, fake_train, 1)) == workers.Ended(1, stopped=True)
    assert not later.directory.exists()


def test_a_worker_that_joblib_replaces_is_no_error_where_warnings_are(tmp_path: Path) -> None:
    # joblib warns in the thread that hands out work; raised there, the comparison would wait for ever
    def works() -> Iterator[Work]:
        warnings.warn("A worker stopped while some jobs were given to the executor.", UserWarning, stacklevel=1)
        yield from ()

    assert list(Local().results(works(), 2, 1, Stop(), tmp_path)) == []


def test_how_a_comparison_was_made_names_the_launcher(tmp_path: Path, fake_train: FakeTrain) -> None:
    run_comparison(tmp_path, fake_train, ARMS, seeds=1, launcher=LOCAL)
    how = json.loads((tmp_path / "comparison.json").read_text())["how"]
    assert how["launcher"] == {"name": "local"}


def test_an_interrupted_command_without_an_output_names_the_one_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*args: Any, **settings: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("headwise.training.run.train", interrupted)
    for command in (["compare", "jobs=1"], ["scale", "sizes=[tiny]", "jobs=1"]):
        assert cli.main([*command, "arms=[baseline,gated]", "seeds=1", "quick=true"]) == 130
        (line,) = capsys.readouterr().err.splitlines()
        (made,) = tmp_path.glob(f"runs/{command[0]}-sorting-*")
        assert line.endswith(f"seeds=1 quick=true output=runs/{made.name}")


class ToldInTime(FakeTrain):
    """Real training in a job whose time is up after the first update, and which notes where it went on."""

    def __call__(
        self, config: Any, resume: Path | None = None, *, directory: Path | None = None, progress: bool = True
    ) -> Path:
        if resume is not None:
            update = read_checkpoint(resume / CHECKPOINTS / LAST)["update"]
            (resume / "resumed").write_text(str(update))
        elif directory is not None:
            threading.Thread(target=self._tell, args=(directory / PROGRESS,), daemon=True).start()
        return train(config, resume, directory=directory, progress=progress)

    def _tell(self, progress: Path) -> None:
        while not progress.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR2)


@pytest.mark.clusters
@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="submitit needs the signal")
def test_a_job_whose_time_is_up_is_queued_again_and_goes_on_where_it_was(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is an extra; pip install -e '.[dev]' brings it")
    updates = 1000
    recipe = TrainingConfig(updates=updates, validate_every=updates, batch_size=2, threads=1, loggers=())
    task = task_from_plain({"name": "sorting", "length": 4, "test_examples": 20, "validation_examples": 20})
    model = ModelConfig(width=16, heads=2, ffn=32, depth=1)
    config = replace(run_config("baseline", model=model, training=recipe, device="cpu"), task=task)
    arms = [("baseline", config)]
    here = compare(arms, 1, output=tmp_path / "here", jobs=1)
    job = compare(arms, 1, output=tmp_path / "job", train=ToldInTime(SCORES), launcher=Slurm(cluster="local"))
    assert job["arms"]["baseline"]["failures"] == {}
    assert 0 < int((tmp_path / "job" / "runs" / "baseline" / "seed0" / "resumed").read_text()) < updates
    assert job["arms"]["baseline"]["values"] == here["arms"]["baseline"]["values"]
