"""`headwise control` as a user meets it: a real tiny run, its page again, and one line for a mistake."""

import json
from pathlib import Path

import pytest

from headwise import cli

SHORT = ["task.validation_examples=8", "task.test_examples=16", "training.loggers=[]", "training.updates=2"]
SHORT += ["training.batch_size=4", "training.validate_every=2", "device=cpu", "jobs=1", "output=here"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_updates_show_nothing_and_the_exit_code_says_that_the_lab_is_blind(capsys: Captured, folder: Path) -> None:
    words = ["control", "arms=[looped,gated]", "widths=[]", "seeds=3", *SHORT]
    assert cli.main([*words, "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "here" / "control.json").read_text(encoding="utf-8")) == result
    assert result["outcome"] != "matters"
    assert result["headline"].startswith("This lab does not see routing where it is known to help")
    assert {path.name for path in (folder / "here").iterdir()} == {"control.json", "report.html", "arms"}

    assert cli.main(words) == 1
    said = capsys.readouterr()
    assert "trained" not in said.err
    for part in ("This lab does not see routing", "report: here/report.html"):
        assert part in said.out
    assert cli.main(["report", "here"]) == 0


def test_on_a_task_of_the_users_own_an_answer_of_no_is_no_failure(capsys: Captured) -> None:
    task = ["task=sorting", "task.length=5", "task.train_examples=8", "task.reference_examples=4", "model.width=16"]
    shape = ["model.heads=2", "model.ffn=32"]
    assert cli.main(["control", "arms=[looped,gated]", "widths=[0]", "seeds=1", *task, *shape, *SHORT]) == 0
    out = capsys.readouterr().out
    assert "No verdict: a test takes 3 seeds with a result, here is 1." in out
    assert "By FFN width gated is ahead of looped by" in out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["task=wlak"], ["task=wlak", "did you mean walk?"]),
        (["task=sorting", "model.structural_heads=2"], ["structural_heads=2", "names no relations"]),
        (["arms=[looped,hmr]"], ["arm=hmr", "did you mean hrm?"]),
        (["arms=[hrm,looped]"], ["arms=[hrm,looped]", "the reference, has a router"]),
        (["arms=[looped,static]"], ["none has a router that learns"]),
        (["arms=looped"], ["arms=looped", "a list"]),
        (["arms=[looped,gated,gated]"], ["arms=looped,gated,gated", "two names"]),
        (["widths=[-1]"], ["widths=[-1]", "0 or more"]),
        (["widths=[8,8]"], ["widths=[8,8]", "different"]),
        (["widths=[wide]"], ["widths", "a whole number"]),
        (["seeds=0"], ["seeds=0", "1 or more"]),
        (["steps=1"], ["steps=1", "2 or more"]),
        (["parity=size"], ["parity=size", "parameters, width, depth, flops, none"]),
        (["jobs=0"], ["jobs=0", "1 or more"]),
        (["launcher=slrum"], ["launcher", "slrum"]),
        (["model.ffm=3"], ["model.ffm", "did you mean ffn?"]),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    words: list[str], parts: list[str], capsys: Captured, folder: Path
) -> None:
    assert cli.main(["control", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    for part in parts:
        assert part in line
    assert list(folder.iterdir()) == []
