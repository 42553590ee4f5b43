"""`headwise runs` and `headwise clean`: what is listed, what may go, and what is never touched."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headwise import cli
from headwise.files import write_json
from headwise.training import removal
from headwise.training.configuration import load
from headwise.training.in_use import in_use, used
from headwise.training.on_disk import read_run, run_directories
from headwise.training.run import train

Captured = pytest.CaptureFixture[str]
SMALL = ["model.width=16", "model.heads=2", "model.ffn=16", "task.length=6", "task.train_examples=32"]
SMALL += ["task.validation_examples=16", "task.test_examples=16", "training.loggers=[]", "training.updates=2"]
CONFIG = """\
task:
  name: {task}
arm:
  gate: {{name: soft}}
model: {{width: 8}}
training: {{updates: 10}}
name: {arm}
seed: {seed}
quick: {quick}
"""
SUMMARY = {"task": "maze", "arm": "hrm", "seed": 0, "quick": False, "updates": 10, "value": 0.5, "metric": "exact"}
SUMMARY |= {"higher_is_better": True, "train_seconds": 2.5}
LINE = {"update": 4, "epoch": 0, "split": "train", "seconds": 1.5, "loss": 0.1}


def planted(folder: Path, name: str, days: float = 0, quick: bool = False, error: str = "", **summary: object) -> Path:
    """A run directory as training leaves it; finished if there is a summary, changed `days` ago."""
    run = folder / name
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").write_bytes(b"x" * 20_000)
    about = SUMMARY | summary
    text = CONFIG.format(task=about["task"], arm=about["arm"], seed=about["seed"], quick=str(quick).lower())
    (run / "config.yaml").write_text(text, encoding="utf-8")
    (run / "metrics.jsonl").write_text(json.dumps(LINE) + "\n" + '{"update": 5, "spl', encoding="utf-8")
    if summary:
        write_json(run / "summary.json", about | {"quick": quick})
    if error:
        (run / "error.txt").write_text(error, encoding="utf-8")
    for path in (*run.rglob("*"), run):
        os.utime(path, (time.time() - days * 86400,) * 2)
    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `runs` with a run of every kind."""
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs"
    planted(runs, "good", value=0.5)
    planted(runs, "best", value=0.9, arm="looped", updates=20)
    planted(runs, "tried", quick=True, value=0.1)
    planted(runs, "comparison/runs/hrm/seed0", task="sorting", value=0.7)
    planted(runs, "stopped", days=30)
    planted(runs, "stopped_today")
    planted(runs, "blown_up", error="TrainingDiverged: update 5: loss nan, gradients blew up in backbone\n")
    planted(runs, "damaged", value=0.3)
    (runs / "damaged" / "summary.json").write_text('{"value": 0.3', encoding="utf-8")
    (runs / "notes").mkdir()
    (runs / "notes" / "plan.txt").write_text("mine", encoding="utf-8")
    return runs


def data(capsys: Captured, *words: str, code: int = 0) -> object:
    assert cli.main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def names(capsys: Captured, *words: str) -> list[str]:
    return [Path(str(run["directory"])).name for run in data(capsys, "runs", *words)]


# Listing


def test_each_run_is_listed_as_it_ended_and_a_damaged_one_costs_no_other(folder: Path, capsys: Captured) -> None:
    found = {Path(run["directory"]).name: run for run in data(capsys, "runs")}
    states = {name: run["state"] for name, run in found.items()}
    assert states == {
        **dict.fromkeys(["good", "best", "tried", "seed0"], "finished"),
        "stopped": "interrupted",
        "stopped_today": "interrupted",
        "blown_up": "diverged",
        "damaged": "broken",
    }
    assert (found["best"]["value"], found["best"]["updates"], found["best"]["seconds"]) == (0.9, 20, 2.5)
    assert (found["stopped"]["updates"], found["stopped"]["seconds"]) == (4, 1.5)  # by the last whole line
    assert "summary.json: damaged" in found["damaged"]["reason"]
    assert "loss nan" in found["blown_up"]["reason"]


def test_rows_are_ordered_and_filtered(folder: Path, capsys: Captured) -> None:
    assert names(capsys, "sort=value", "state=finished", "task=maze") == ["best", "good", "tried"]
    assert names(capsys, "sort=value", "state=finished", "task=maze", "reverse=true") == ["tried", "good", "best"]
    assert names(capsys, "task=sort*") == ["seed0"]
    assert names(capsys, "arm=looped") == ["best"]
    assert names(capsys, "sort=date")[-1] == "stopped"


def test_of_a_metric_where_less_is_better_the_least_comes_first(tmp_path: Path, capsys: Captured) -> None:
    for value in (0.2, 0.1, 0.3):
        planted(tmp_path, f"of{value}", value=value, higher_is_better=False)
    assert names(capsys, str(tmp_path), "sort=value") == ["of0.1", "of0.2", "of0.3"]


def test_many_runs_are_read_without_what_makes_reading_slow(tmp_path: Path) -> None:
    """Five hundred take half a second then; with YAML's own reader it would be many."""
    for number in range(50):
        planted(tmp_path, f"run{number}", **({"value": 0.5} if number % 2 else {}))
    program = f"""
import sys
from headwise.cli import main
assert main(["runs", {str(tmp_path)!r}]) == 0
print(sorted({{'torch', 'numpy', 'yaml'}} & set(sys.modules)))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    *_, total, heavy = done.stdout.splitlines()
    assert total.startswith("50 runs in ")
    assert heavy == "[]"


def test_a_configuration_of_another_program_is_no_run(folder: Path, capsys: Captured) -> None:
    (folder / "theirs").mkdir()
    (folder / "theirs" / "config.yaml").write_text("task: [a, b]\nmodel: big\n", encoding="utf-8")
    (folder / "theirs" / "error.txt").write_text("TrainingDiverged", encoding="utf-8")
    (folder / "config.yaml").write_text("defaults: []\n", encoding="utf-8")
    assert len(names(capsys)) == 8
    assert "theirs" not in cleaned(capsys, "days=0")
    assert (folder / "theirs" / "error.txt").exists()


def test_a_folder_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["runs"]) == 2
    assert capsys.readouterr().err == "headwise: runs: no such folder; name the one in which the runs are\n"


def test_a_run_that_diverges_says_so_in_its_directory_and_one_that_trains_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["train", "task=sorting", *SMALL, f"output={tmp_path}"]
    assert cli.main([*words, "training.preset.lr=1e30", "training.updates=20"]) == 1
    (run,) = run_directories(tmp_path)
    assert read_run(run).state == "diverged"

    seen = []
    from headwise.training.recorder import Recorder

    after = Recorder.after_step
    monkeypatch.setattr(Recorder, "after_step", lambda self, *a: (seen.append(in_use(self.folder)), after(self, *a))[1])
    assert cli.main(words) == 0
    assert seen == [True, True]
    (other,) = set(run_directories(tmp_path)) - {run}
    assert (read_run(other).state, read_run(other).updates, in_use(other)) == ("finished", 2, False)


# Cleaning


def cleaned(capsys: Captured, *words: str) -> set[str]:
    found = data(capsys, "clean", *words, "yes=true")
    return {Path(str(each["path"])).name for each in found["removed"]}


def test_quick_tries_diverged_and_old_interrupted_runs_go_and_nothing_else(folder: Path, capsys: Captured) -> None:
    before = {path for path in folder.rglob("*") if not {"tried", "stopped", "blown_up"} & set(path.parts)}
    assert cleaned(capsys) == {"tried", "stopped", "blown_up"}
    assert set(folder.rglob("*")) == before
    assert cleaned(capsys, "days=0") == {"stopped_today"}
    assert cleaned(capsys) == set()


def test_checkpoints_of_finished_runs_go_when_asked_for(folder: Path, capsys: Captured) -> None:
    found = data(capsys, "clean", "checkpoints=true", "yes=true")
    assert sum(each["why"].startswith("checkpoints") for each in found["removed"]) == 3
    assert all(each["bytes"] >= 20_000 for each in found["removed"])
    assert (folder / "good" / "summary.json").exists()
    assert not (folder / "good" / "checkpoints").exists()
    assert (folder / "stopped_today" / "checkpoints").exists()  # it goes on from there


def test_what_commands_write_into_a_finished_run_does_not_keep_it(tmp_path: Path, capsys: Captured) -> None:
    """A page, a model watched at work, an export, thinking longer: where each of them puts what it makes."""
    directory = train(load(["task=sorting", "arm=looped", "quick=true", *SMALL, f"output={tmp_path}"]), progress=False)
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    for words in (["report"], ["show"], ["export"], ["think", "steps=[1x]", "restarts=[1]"]):
        assert cli.main([words[0], str(directory), *words[1:]]) == 0
    assert removal.foreign(directory) == []


def test_a_run_in_use_one_with_a_file_of_someone_and_one_behind_a_link_stay(
    folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    (folder / "tried" / "my notes.txt").write_text("mine", encoding="utf-8")
    outside = planted(tmp_path / "elsewhere", "old", days=30)
    (folder / "link").symlink_to(outside.parent, target_is_directory=True)
    (folder / "old").symlink_to(outside, target_is_directory=True)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "kept").write_text("kept", encoding="utf-8")
    (folder / "blown_up" / "wandb").symlink_to(weights, target_is_directory=True)
    with used(folder / "stopped"):
        assert cleaned(capsys) == {"blown_up"}
    assert (outside / "checkpoints" / "last.ckpt").exists()
    assert (weights / "kept").exists()
    assert (folder / "tried" / "my notes.txt").exists()
    assert (folder / "stopped" / "config.yaml").exists()


def test_a_run_that_has_gone_on_since_it_was_listed_stays(folder: Path) -> None:
    found = removal.removable(read_run(folder / "stopped"), days=7, checkpoints=False)
    assert found is not None
    with (folder / "stopped" / "metrics.jsonl").open("a", encoding="utf-8") as out:
        out.write("\n" + json.dumps(LINE | {"update": 8}) + "\n")
    assert removal.remove(found) == "changed meanwhile"
    assert (folder / "stopped").is_dir()


def test_without_a_terminal_and_without_yes_it_refuses(folder: Path, capsys: Captured) -> None:
    before = set(folder.rglob("*"))
    assert cli.main(["clean"]) == 2
    assert "no terminal to ask in; yes=true removes them" in capsys.readouterr().err
    assert len(data(capsys, "clean", "dry_run=true")["found"]) == 3
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize(("answer", "goes"), [("y", True), ("", False), ("n", False), ("Y", True), ("ja", False)])
def test_it_asks_and_only_yes_removes(
    answer: str, goes: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert cli.main(["clean"]) == 0
    assert (folder / "tried").exists() is not goes


def test_an_interrupt_leaves_every_run_whole_or_gone_and_the_next_call_finishes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Ctrl-C comes when the second directory is half removed."""
    remove, calls = removal.shutil.rmtree, []

    def interrupted(path: Path) -> None:
        calls.append(path)
        if len(calls) == 2:
            (Path(path) / "config.yaml").unlink()
            raise KeyboardInterrupt
        remove(path)

    monkeypatch.setattr(removal.shutil, "rmtree", interrupted)
    assert cli.main(["clean", "yes=true"]) == 130
    assert "1 of 3 removed" in capsys.readouterr().err
    left = [read_run(run) for run in run_directories(folder)]
    assert sum(each.directory.name in ("tried", "stopped", "blown_up") for each in left) == 1
    monkeypatch.setattr(removal.shutil, "rmtree", remove)
    (folder / "good" / ".removing-checkpoints").mkdir()  # of a call with checkpoints=true
    (folder / "good" / ".removing-checkpoints" / "last.ckpt").touch()
    (folder / ".removing-thesis").mkdir()  # not of ours
    (folder / ".removing-thesis" / "chapter.tex").touch()
    assert len(cleaned(capsys)) == 3
    (folder / ".removing-thesis" / "chapter.tex").unlink()
    (folder / ".removing-thesis").rmdir()
    assert not [path for path in folder.rglob("*") if "removing" in path.name]
