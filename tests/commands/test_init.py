"""`headwise init`: what it writes trains, and passes its own tests, as it is."""

import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import headwise
from headwise import cli

Captured = pytest.CaptureFixture[str]
SOURCE = Path(headwise.__file__).parents[1]


def typed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with headwise, in a folder."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "HEADWISE_QUICK": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )


def test_a_new_project_trains_and_passes_its_own_tests(tmp_path: Path, capsys: Captured) -> None:
    project = tmp_path / "bit-rows"
    assert cli.main(["init", str(project), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert sorted(map(Path, written["files"])) == sorted(file for file in project.rglob("*") if file.is_file())
    done = typed(project, "-m", *shlex.split(written["train"]), "training.updates=2")
    assert done.returncode == 0, done.stderr
    assert "gated_loop on bit_rows" in done.stdout
    entries = tomllib.loads((project / "pyproject.toml").read_text())["project"]["entry-points"]["headwise.tasks"]
    assert entries == {"bit_rows": "bit_rows:ENTRY"}
    # The project's own tests, the laws on its task among them
    tests = typed(project, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert tests.returncode == 0, tests.stdout
    assert "4 passed" in tests.stdout


def test_the_project_s_own_tests_fail_where_its_task_is_wrong(tmp_path: Path) -> None:
    project = tmp_path / "wrong"
    assert cli.main(["init", str(project), "name=wrong_rows"]) == 0
    file = project / "wrong_rows.py"
    file.write_text(file.read_text().replace("bits.cumsum(1) % 2", "bits.cumsum(1) % 2 * 0 + bits % 2"))
    tests = typed(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "counts_the_ones")
    assert tests.returncode == 1, tests.stdout


def test_nothing_is_overwritten(tmp_path: Path, capsys: Captured) -> None:
    project = tmp_path / "mine_own"
    project.mkdir()
    (project / "README.md").write_text("mine", encoding="utf-8")
    assert cli.main(["init", str(project)]) == 2
    assert "README.md is there already, and nothing is overwritten" in capsys.readouterr().err
    assert [(file.name, file.read_text()) for file in project.iterdir()] == [("README.md", "mine")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["maze"], "a task of that name is there"),
        (["json"], "Python has a module of that name"),
        (["p", "name=1a"], "not a name of a Python module"),
        (["p", "name=class"], "not a name of a Python module"),
        (["file/p"], "file is a file"),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert cli.main(["init", *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
