"""`headwise scale` as a user meets it: its plan, its results, and one line for a mistake."""

import json
from pathlib import Path

import pytest

from headwise import cli
from headwise.lab.formatting import format_count

# Data so small, and so few updates, that a run takes a second at the smallest size
SHORT = ["task.length=6", "task.train_examples=32", "task.validation_examples=16", "task.test_examples=16"]
SHORT += ["training.loggers=[]", "training.updates=2", "training.batch_size=8"]

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_plan_then_the_scaling_then_its_page_again(capsys: Captured, folder: Path) -> None:
    words = ["scale", "task=sorting", "sizes=[tiny]", "arms=[baseline,gated]", "parity=width", "jobs=1", *SHORT]
    words += ["output=sizes"]
    assert cli.main([*words, "dry_run=true"]) == 0
    shown = capsys.readouterr().out
    for part in ("tiny", "baseline", "gated", format_count(396_544), "2 runs to train", "memory"):
        assert part in shown
    assert list(folder.iterdir()) == []

    assert cli.main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "sizes" / "scaling.json").read_text(encoding="utf-8")) == result
    gated = result["sizes"]["tiny"]["arms"]["gated"]
    assert abs(gated["parameter_ratio"] - 1) <= 0.01
    assert gated["train_seconds"] > 0
    assert gated["peak_memory"] > gated["parameters_in_all"] * 16
    assert {path.name for path in (folder / "sizes").iterdir()} == {
        "scaling.json",
        "scaling.csv",
        "report.html",
        "tiny",
    }

    assert cli.main(words) == 0
    assert "0 at tiny" in capsys.readouterr().out
    assert cli.main(["report", "sizes"]) == 0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["sizes=[tinny]"], ["tinny", "available: tiny, small", "did you mean tiny?"]),
        (["sizes=tiny"], ["sizes=tiny", "a list"]),
        (["sizes=[]"], ["at least one of tiny"]),
        (["arms=[baseline,hmr]"], ["arm=hmr", "did you mean hrm?"]),
        (["arms=baseline"], ["arms=baseline", "a list"]),
        (["seeds=0"], ["seeds=0", "1 or more"]),
        (["parity=size"], ["parity=size", "parameters, width, depth, flops, none"]),
        (["jobs=0"], ["jobs=0", "1 or more"]),
        (["second=perfekt"], ["second=perfekt", "not measured", "rank_tau_visible", "perfect"]),
        (["second=rank_tau", "dry_run=true"], ["second=rank_tau", "the primary metric", "perfect"]),
        (["dry_run=maybe"], ["dry_run=maybe", "true or false"]),
        (["model.width=64"], ["model.width in model.width=64", "shapes from sizes="]),
        (["model.size=tiny"], ["model.size", "shapes from sizes="]),
        (['arms=[baseline,"hrm:model.depth=3"]'], ["model.depth", "shapes from sizes="]),
        (["model.dropot=0.1"], ["model.dropot", "did you mean dropout?"]),
        (["task.length=0"], ["length=0"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: list[str], parts: list[str], capsys: Captured, folder: Path
) -> None:
    assert cli.main(["scale", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    for part in parts:
        assert part in line
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("dry", [["dry_run=true"], []])
def test_a_size_that_does_not_fit_is_one_line_before_training(
    dry: list[str], capsys: Captured, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwise.lab.scaling.plan.capacity", lambda device: 4 * 10**9)
    assert cli.main(["scale", "sizes=[huge]", "arms=[baseline]", *SHORT, *dry]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    for part in ("huge does not fit", "521 M parameters", "this machine has 4.0 GB", "choose"):
        assert part in line
    assert list(folder.iterdir()) == []
