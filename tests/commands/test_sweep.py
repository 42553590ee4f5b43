"""`headwise sweep` as a user meets it: a real tiny run, its plan, its page again, and one line for a mistake."""

import json
from pathlib import Path

import pytest

from headwise import cli
from headwise.lab.scaling.budget import Seconds

SHORT = ["task=sorting", "task.length=5", "task.train_examples=8", "task.validation_examples=8", "arm=hrm"]
SHORT += ["task.test_examples=16", "task.reference_examples=4", "model.width=16", "model.heads=2", "model.ffn=32"]
SHORT += ["training.loggers=[]", "training.updates=2", "training.batch_size=4", "training.validate_every=2"]
SHORT += ["device=cpu", "jobs=1", "output=here"]
SWEPT = "arm.controller.period=2,4"
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_sweep_trains_reports_and_prints_what_stands_in_its_file(capsys: Captured, folder: Path) -> None:
    words = ["sweep", SWEPT, "seeds=1", *SHORT]
    assert cli.main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "here" / "sweep.json").read_text(encoding="utf-8")) == result
    assert list(result["arms"]) == ["controller.period=4", "controller.period=2"]
    assert {"sweep.json", "sweep.csv", "report.html", "search"} <= {path.name for path in (folder / "here").iterdir()}

    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert "trained" not in said.err
    for part in ("controller.period=4 (base", "report: here/report.html", result["headline"]):
        assert part in said.out
    assert cli.main(["report", "here"]) == 0


def test_a_plan_shows_settings_runs_and_time_and_writes_nothing(
    capsys: Captured, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwise.lab.sweep.plan.seconds", lambda config, data, threads: Seconds(0.1, 10.0, 2.0))
    assert cli.main(["sweep", "sweep=period", "arm.controller.period=4,8", "--dry-run", "seeds=2", *SHORT]) == 0
    out = capsys.readouterr().out
    for part in ("controller.period=4 (base)", "controller.period=8", "4 runs to train, and 4 to confirm the best"):
        assert part in out
    assert "about 96.0 s" in out
    assert list(folder.iterdir()) == []


def test_presets_are_listed_and_explained(capsys: Captured) -> None:
    assert cli.main(["list", "sweeps"]) == 0
    assert "period " in capsys.readouterr().out
    assert cli.main(["help", "sweep=period", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["values"]["arm.controller.period"] == "2,3,4,6,8"
    assert cli.main(["help", "sweep=perod"]) == 2
    assert "did you mean period?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["no setting has several values"]),
        (["sweep=perod"], ["sweep=perod", "did you mean period?"]),
        (["arm.controller.perod=2,3"], ["arm.controller.perod", "did you mean period?"]),
        (["arm.controller.period=2,2"], ["2 stands there twice"]),
        (["training.warmup=range(0,0.5,0.0001)"], ["more than 500 values", "max_runs="]),
        (["training.updates=range(1,400)", SWEPT], ["798 settings", "2400 runs", "max_runs=2400"]),
        (["training.warmup=interval(0,0.5)"], ["interval", "sampler=random"]),
        ([SWEPT, "sampler=optunas"], ["sampler=optunas", "did you mean optuna?"]),
        ([SWEPT, "number=3"], ["number=3", "sampler=random"]),
        ([SWEPT, "seeds=0"], ["seeds=0", "1 or more"]),
        ([SWEPT, "confirm=-1"], ["confirm=-1", "0 for none"]),
        ([SWEPT, "max_runs=0"], ["max_runs=0", "1 or more"]),
        ([SWEPT, "parity=size"], ["parity=size", "parameters, width, depth, flops, none"]),
        ([SWEPT, "effect=0"], ["effect=0", "above 0"]),
        ([SWEPT, "launcher=slrum"], ["launcher", "slrum"]),
        ([SWEPT, "model.ffm=3"], ["model.ffm", "did you mean ffn?"]),
        (["task=sorting,maze"], ["task", "a sweep has one task"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: list[str], parts: list[str], capsys: Captured, folder: Path
) -> None:
    assert cli.main(["sweep", "arm=hrm", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    for part in parts:
        assert part in line
    assert list(folder.iterdir()) == []
