"""`headwise think` as a user meets it: what is printed and written, the page again, and one line for a mistake."""

import json
from pathlib import Path

import pytest

from headwise import cli
from headwise.lab.records import read_thinking
from tests.lab.report.test_pages import Outside

Captured = pytest.CaptureFixture[str]


def ended(words: list[str], capsys: Captured) -> tuple[int, str, str]:
    code = cli.main(words)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_table_a_file_and_a_page_that_needs_nothing(maze: Path, tmp_path: Path, capsys: Captured) -> None:
    output = tmp_path / "out"
    words = ["think", str(maze), "steps=[1x,2x]", "restarts=[1,3]", f"output={output}"]
    code, out, err = ended(words, capsys)
    assert code == 0
    assert "optimal of thinker on maze, no noise on the path" in out
    assert "No selection knows the right answer" in out
    assert "steps 2x, restart 3: " in err
    assert {path.name for path in output.iterdir()} == {"thinking.json", "report.html", "measured"}
    html = (output / "report.html").read_text(encoding="utf-8")
    page = Outside(html)
    assert (page.fetched, page.open, page.tags["svg"]) == ([], [], 2)
    assert len(page.ids) == len(set(page.ids))
    assert "mathdefault" not in html
    for said in (
        "from a random restart to the best of all",
        "not chosen",
        "right before, wrong now",
        "One run is shown",
    ):
        assert said in html
    for sentence in read_thinking(output)["study"]["sentences"]:
        assert sentence in html
    assert ended(["report", str(output)], capsys)[0] == 0
    assert (output / "report.html").read_text(encoding="utf-8") == html
    code, out, err = ended([*words, "--json"], capsys)
    assert json.loads(out) == json.loads((output / "thinking.json").read_text())
    assert "restart" not in err  # all was kept


def test_a_single_value_needs_no_brackets_and_settings_are_those_of_the_run(
    maze: Path, tmp_path: Path, capsys: Captured
) -> None:
    words = [
        "steps=2x",
        "restarts=2",
        "noise=0.1",
        "select=residual",
        "task.test_mazes=8",
        f"output={tmp_path / 'out'}",
    ]
    code, out, _ = ended(["think", str(maze), *words, "--json"], capsys)
    result = json.loads(out)
    assert (code, result["examples"], result["rules"], len(result["points"])) == (0, 8, ["residual"], 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restarts=0"], "restarts=0: choose whole numbers of 1 or more"),
        (["restarts=[2,many]"], "restarts=many: choose whole numbers"),
        (["steps=0.3x"], "steps=0.3x: 0.6 steps (2 were trained in all); choose whole steps"),
        (["steps=[]"], "steps=[]: name at least one number"),
        (["noise=-1"], "noise=-1.0: choose a standard deviation of 0 or more"),
        (["noise_every=segment"], "noise_every=segment: there is no noise"),
        (["noise_every=cycle"], "noise_every=cycle: choose one of step, segment"),
        (["select=residul"], "did you mean residual?"),
        (["select=halting"], "select=halting: the arm has learned no halting that says how sure it is of an answer"),
        (["task.size=9x"], "task.size"),
        (["~task.size"], "nothing to go back from"),
    ],
)
def test_a_mistake_ends_in_one_line_and_nothing_is_written(
    maze: Path, tmp_path: Path, capsys: Captured, words: list[str], said: str
) -> None:
    code, out, err = ended(["think", str(maze), *words, f"output={tmp_path / 'out'}"], capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["restarts=4"], "restarts=4: every one would answer the same, as nothing is drawn; add noise=0.1"),
        (["select=valid"], "select=valid: task=walk has no check of an answer without the solution"),
    ],
)
def test_what_the_run_or_its_task_does_not_have_is_said(
    walk: Path, tmp_path: Path, capsys: Captured, words: list[str], said: str
) -> None:
    code, _, err = ended(["think", str(walk), *words, f"output={tmp_path / 'out'}"], capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert not (tmp_path / "out").exists()


def test_an_output_that_holds_something_else_is_left_alone(maze: Path, capsys: Captured) -> None:
    code, _, err = ended(["think", str(maze), f"output={maze}"], capsys)
    assert code == 2
    assert "holds a run" in err
    code, _, err = ended(["think", "nowhere"], capsys)
    assert (code, err.count("\n")) == (2, 1)
