"""`headwise show`: which example it takes, what it says, and what it refuses in one line."""

import json
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import headwise
from headwise.cli import main
from headwise.schema import build
from headwise.tasks import TASKS
from tests.training.recipes import GUMBEL, PONDER, arm, tiny

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of a second each: two arms on the same arrays, sudokus, and a run that lost its weights."""
    folder = tmp_path_factory.mktemp("runs")
    config = tiny(folder, GUMBEL)
    sudoku = TASKS["sudoku"]
    configs = {
        "gumbel": config,
        "ponder": replace(config, arm=arm(PONDER)),
        "longer": replace(config, task=replace(config.task, length=7, hints=2)),
        "sudoku": replace(config, task=build(sudoku.config, dict(sudoku.example), "task")),
    }
    found = {name: headwise.train(one, directory=folder / name, progress=False) for name, one in configs.items()}
    shutil.copytree(found["gumbel"], folder / "bare")
    (folder / "bare" / "model.safetensors").unlink()
    return found | {"bare": folder / "bare"}


def shown(capsys: Captured, *words: object) -> dict[str, Any]:
    assert main(["show", *map(str, words), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_it_writes_a_page_and_says_where(runs: dict[str, Path], capsys: Captured) -> None:
    assert main(["show", str(runs["gumbel"])]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"page: {runs['gumbel'] / 'show.html'}"
    assert "in their place" in lines[0]
    page = (runs["gumbel"] / "show.html").read_text(encoding="utf-8")
    assert "test example 0" in page


def test_the_last_answer_is_that_of_evaluate(runs: dict[str, Path], capsys: Captured, tmp_path: Path) -> None:
    value = headwise.evaluate(runs["sudoku"], {"task.test_puzzles": 1})["metrics"]
    found = shown(capsys, runs["sudoku"], 0, "task.test_puzzles=1", f"output={tmp_path / 'a.html'}")
    (own,) = found["runs"]
    assert own["metrics"]["exact"] == value["exact"]
    assert own["metrics"]["blanks"] == pytest.approx(value["blanks"], abs=1e-6)
    assert found["bytes"] == (tmp_path / "a.html").stat().st_size < 2_000_000


def test_two_runs_look_at_the_same_example(runs: dict[str, Path], capsys: Captured, tmp_path: Path) -> None:
    found = shown(capsys, runs["gumbel"], runs["ponder"], 5, f"output={tmp_path / 'two.html'}")
    assert [one["label"] for one in found["runs"]] == ["custom, seed 0 (gumbel)", "custom, seed 0 (ponder)"]
    assert found["example"] == "test example 5"


def test_a_sudoku_can_be_typed(runs: dict[str, Path], capsys: Captured, tmp_path: Path) -> None:
    found = shown(capsys, runs["sudoku"], "12.. .... .... ..4.", f"output={tmp_path / 'typed.html'}")
    assert found["runs"][0]["metrics"] == {}
    assert "against the rules" in found["runs"][0]["said"] or "solved" in found["runs"][0]["said"]


def test_more_steps_than_trained_are_watched(runs: dict[str, Path], capsys: Captured, tmp_path: Path) -> None:
    found = shown(capsys, runs["gumbel"], "arm.refinement.steps=9", f"output={tmp_path / 'a.html'}")
    assert found["runs"][0]["steps"] == 9


def test_an_animation_has_a_picture_for_the_question_and_each_answer(
    runs: dict[str, Path], capsys: Captured, tmp_path: Path
) -> None:
    file = tmp_path / "out.gif"
    shown(capsys, runs["sudoku"], f"animation={file}", f"output={tmp_path / 'a.html'}")
    with Image.open(file) as image:
        assert getattr(image, "n_frames", 1) == 1 + 3
        assert image.size[0] > 400


def test_a_video_goes_through_ffmpeg(
    runs: dict[str, Path], capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in takes the pictures that ffmpeg would: raw pixels, several for each answer."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nfor last; do :; done\nwc -c > "$last"\n', encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    file = tmp_path / "out.mp4"
    shown(capsys, runs["sudoku"], f"animation={file}", f"output={tmp_path / 'a.html'}")
    assert int(file.read_text()) > 40 * 400 * 400 * 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "headwise show <run> [more ...]"),
        (["nowhere"], "nowhere"),
        (["{gumbel}", "99"], "example=99: the test split has 32; choose 0..31"),
        (["{gumbel}", "example=-1"], "example=-1: the test split has 32; choose 0..31"),
        (["{gumbel}", "split=dev"], "split=dev: choose one of train, validation, test"),
        (["{gumbel}", "3", "choose=solved"], "3 and choose: each says which example; give one of them"),
        (["{gumbel}", "choose=halted"], "choose=halted: of the first 32 test examples all take as many steps"),
        (["{gumbel}", "3 1 2"], "3 1 2: examples of task=sorting are not typed"),
        (["{gumbel}", "runs/typo"], "runs/typo: no such directory"),
        (["{gumbel}", "1", "2"], "1 2: one example at a time; put a text into quotes"),
        (["{gumbel}", "{sudoku}"], "give two of one task"),
        (["{gumbel}", "{longer}"], "give two runs on the same data"),
        (["{bare}"], "model.safetensors"),
        (["{sudoku}", "12."], "the sudoku: 3 characters; expected 16 (4 x 4)"),
        (["{sudoku}", "11.............."], "the sudoku: clues clash: 1 in row 1"),
        (["{gumbel}", "output=page.txt"], "output=page.txt: choose a name that ends in .html"),
        (["{gumbel}", "animation=a.avi"], "animation=a.avi: choose a name that ends in .gif or .mp4"),
        (["{gumbel}", "animation=a.mp4"], "animation=a.mp4: a video needs ffmpeg"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: list[str],
    message: str,
    runs: dict[str, Path],
    capsys: Captured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    for run in runs.values():
        (run / "show.html").unlink(missing_ok=True)
    assert main(["show", *(word.format(**runs) for word in words)]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert [*tmp_path.iterdir(), *(run / "show.html" for run in runs.values() if (run / "show.html").exists())] == []
