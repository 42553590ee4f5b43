"""The notebooks run from top to bottom. They are kept as scripts with cells, which jupytext turns into notebooks."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))
SECONDS = 900
# What each leaves in its one folder of runs
PLOTTED = {
    "first_steps": {"first_steps.png"},
    "your_own_task": {"jumping.png", "report.html"},
    "your_own_router": {"router.png"},
    "retrofit": {"retrofit.png"},
    "scaling": {"scaling.json", "report.html", "parameters.png", "advantages.png"},
}


def test_there_are_notebooks_and_no_outputs_beside_them() -> None:
    assert NOTEBOOKS
    ignored = (FOLDER.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "notebooks/*.ipynb" in ignored


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_words_and_its_cells_are_valid_python(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    cells = re.split(r"^# %%", text, flags=re.M)[1:]
    assert cells[0].startswith(" [markdown]")
    for cell in cells:
        if not cell.startswith(" [markdown]"):
            compile(cell.partition("\n")[2], notebook.name, "exec")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_jupytext_makes_a_notebook_of_it(notebook: Path) -> None:
    jupytext = pytest.importorskip("jupytext")
    cells = jupytext.read(notebook).cells
    assert {cell.cell_type for cell in cells} == {"markdown", "code"}
    assert len(cells) == len(re.findall(r"^# %%", notebook.read_text(encoding="utf-8"), re.M))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_installs_headwise_where_it_is_missing_and_nowhere_else(notebook: Path, tmp_path: Path) -> None:
    """Colab has torch and no headwise; a machine that has headwise is left alone."""
    first = next(
        cell.partition("\n")[2]
        for cell in re.split(r"^# %%", notebook.read_text(encoding="utf-8"), flags=re.M)[1:]
        if not cell.startswith(" [markdown]")
    )
    assert re.search(r"^(?:import|from) (?:torch|headwise)", first, re.M) is None, "imported before it is installed"
    prelude = "import subprocess; subprocess.run = lambda words, check: print(words[1:])\n"
    for flags, said in (([], ""), (["-S", "-I"], "install")):  # without site-packages there is no headwise
        command = [sys.executable, *flags, "-c", prelude + first]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert bool(said) == bool(done.stdout)


@pytest.mark.readme
@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(notebook: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HEADWISE_QUICK": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(notebook)],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (output,) = (tmp_path / "runs").iterdir()
    assert PLOTTED[notebook.stem] <= {p.name for p in output.iterdir()}
