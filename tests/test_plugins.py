"""Parts of a user's own: found by every command and every process, remembered by runs, refused in one line if missing.

The plugin is the one that docs/extending.md builds.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from headwise import cli, plugins
from headwise.errors import InputError
from headwise.training.presets import preset, presets

from .test_readme import ROOT, blocks

SMALL = ["model.width=16", "model.ffn=16", "task.train_examples=32", "task.test_examples=16", "device=cpu"]
SHORT = ["training.updates=4", "training.batch_size=8", "training.validate_every=4", "training.loggers=[]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with `mine.py`."""
    found = blocks((ROOT / "docs" / "extending.md").read_text(encoding="utf-8"))
    code = "\n\n".join(block.code for block in found if block.file == "mine.py")
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    return tmp_path


@pytest.fixture
def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command that is refused says, in one line; called here, since it comes to load no part for good."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv(plugins.VARIABLE, "")
    monkeypatch.setattr(plugins, "_files", {})
    before = set(sys.modules)

    def refusal(*words: str) -> str:
        try:
            assert cli.main(list(words)) == 2
        finally:
            for name in {"mine", "broken", "empty", "twice", "worse"} & (sys.modules.keys() - before):
                del sys.modules[name]
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refusal


def headwise(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, typed in a folder, in a process of its own: what a plugin registers stays as long as its process."""
    return run_python(folder, "-m", "headwise.cli", *words, **environment)


def run_python(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder; `path` is added to what it imports from."""
    path = os.pathsep.join([str(Path(plugins.__file__).parents[1]), environment.pop("path", "")])
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_own_parts_train_as_themselves_are_remembered_and_asked_for(folder: Path, refused: Callable[..., str]) -> None:
    """An own router was once trained as plain attention without a word."""
    done = headwise(
        folder, "train", "--plugin", "mine.py", "task=parity", "arm=mlp_softplus", "output=runs", *SMALL, *SHORT
    )
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    saved = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert saved["arm"]["router"] == {"name": "mlp", "hidden": 16}
    assert saved["plugins"] == [str(folder / "mine.py")]
    weights = (run / "model.safetensors").read_bytes()
    assert b"router.first.weight" in weights

    for words in (["evaluate", str(run)], ["train", f"resume={run}"]):
        assert f"plugin {folder / 'mine.py'} is not loaded: --plugin {folder / 'mine.py'}" in refused(*words)

    (folder / "elsewhere").mkdir()
    (folder / "mine.py").rename(folder / "elsewhere" / "mine.py")
    moved = headwise(folder, "evaluate", str(run), "--json", HEADWISE_PLUGINS="elsewhere/mine.py")
    assert moved.returncode == 0, moved.stderr


def test_a_comparison_hands_plugins_on_to_its_workers(folder: Path) -> None:
    """Own tasks once worked in one process and failed in the workers."""
    arms = 'arms=[mlp_softplus,"hrm_token:controller.name=leaky,halting.name=confident"]'
    done = headwise(
        folder, "compare", "--plugin", "mine.py", "task=parity", arms, "seeds=1", "jobs=2", "output=out", *SMALL, *SHORT
    )
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "out").rglob("summary.json"))) == 2


def test_own_parts_keep_the_laws_by_a_command(folder: Path) -> None:
    done = headwise(folder, "check-laws", "mine.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("keeps the laws") == 7
    text, _, _ = (folder / "mine.py").read_text(encoding="utf-8").partition("@headwise.ROUTERS")  # the gate function
    (folder / "worse.py").write_text(text.replace("F.softplus(logits", "F.softplus(-logits"), encoding="utf-8")
    worse = headwise(folder, "check-laws", "worse.py")
    assert worse.returncode == 1
    assert "a larger score has a smaller gate" in " ".join(worse.stdout.split())


def test_a_part_of_the_running_script_is_refused_before_workers_start(folder: Path) -> None:
    script = folder / "script.py"
    script.write_text(
        (folder / "mine.py").read_text(encoding="utf-8")
        + "\nfrom headwise.errors import InputError\n"
        + f"words = {['task=parity', 'output=out', *SMALL, *SHORT]}\n"
        + "try:\n    headwise.compare(headwise.load_arms(['baseline'], words), seeds=2, jobs=2, output='out')\n"
        + "except InputError as error:\n    print(error)\n",
        encoding="utf-8",
    )
    done = run_python(folder, str(script))
    assert done.stdout.startswith("the running script registers a part of this run"), done.stderr


def test_an_installed_package_brings_parts_without_an_option(folder: Path, refused: Callable[..., str]) -> None:
    site = folder / "site"
    (site / "mine-1.0.dist-info").mkdir(parents=True)
    (site / "mine-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    code = (folder / "mine.py").read_text(encoding="utf-8")
    registered = [line for line in code.splitlines() if not line.startswith(("@headwise.", "headwise."))]
    (site / "mine_package.py").write_text("\n".join(registered), encoding="utf-8")
    points = {
        "headwise.routers": "mlp = mine_package:MLPRouter",
        "headwise.gates": "softplus = mine_package:Softplus",
        "headwise.controllers": "leaky = mine_package:LeakyConfig",
        "headwise.halting": "confident = mine_package:ConfidentHalting",
        "headwise.tasks": "parity = mine_package:ENTRY",
    }
    lines = [line for group, point in points.items() for line in (f"[{group}]", point)]
    (site / "mine-1.0.dist-info" / "entry_points.txt").write_text("\n".join(lines) + "\n")
    done = headwise(folder, "train", "task=parity", "arm.router=mlp", "output=runs", *SMALL, *SHORT, path=str(site))
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs").iterdir()
    assert "plugin mine_package is not loaded" in refused("evaluate", str(run))
    listing = ["list", "routers", "gates", "controllers", "halting", "tasks"]
    both = f"from headwise.cli import main; print(main({listing}), main({['evaluate', str(run)]}))"
    again = run_python(folder, "-c", both, path=str(site))
    assert "a perceptron with one hidden layer on every token" in again.stdout
    assert "say at every place whether the number of ones so far is even" in again.stdout
    assert again.stdout.endswith("0 0\n"), again.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "--plugin"], "--plugin: which? give a module or a .py file"),
        (["list", "--plugin", "none.py"], "none.py: not found"),
        (["list", "--plugin", "no_such_module"], "plugin no_such_module: no such module"),
        (["list", "--plugin=broken.py"], "broken.py: fails with ZeroDivisionError: division by zero"),
        (["list", "--plugin=own/json.py"], "a module json is loaded already"),
        (["list", "--plugin=twice.py"], "router 'learned' is there already"),
        (["check-laws", "empty.py"], "plugin empty.py: registers nothing"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_one_line(
    folder: Path, refused: Callable[..., str], words: list[str], message: str
) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "own").mkdir()
    (folder / "own" / "json.py").write_text("")
    (folder / "empty.py").write_text("")
    (folder / "twice.py").write_text("import headwise\nheadwise.ROUTERS.register('learned', 'mine:MLPRouter')\n")
    assert message in refused(*words)


def test_a_folder_of_values_is_like_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "arm").mkdir()
    (tmp_path / "arm" / "narrow.yaml").write_text("# two heads per token\nrouter: learned\ngate: {name: top_k, k: 2}\n")
    monkeypatch.setenv("HEADWISE_CONF", str(tmp_path))
    assert presets("arm")["narrow"] == "two heads per token"
    assert preset("arm", "narrow") == preset("arm", str(tmp_path / "arm" / "narrow.yaml"))
    from headwise.training.configuration import load

    named = load(["arm=narrow", "arm.gate.k=1"])
    assert (named.name, named.arm.gate.k) == ("narrow", 1)
    assert load([f"arm={tmp_path}/arm/narrow.yaml", "arm.gate.k=1"]) == named
    (tmp_path / "arm" / "hrm.yaml").write_text("router: learned\n")
    with pytest.raises(InputError, match=r"arm=hrm is .*hrm.yaml already; use another name"):
        load(["arm=narrow"])
    monkeypatch.setenv("HEADWISE_CONF", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"HEADWISE_CONF=.*nowhere: no such folder"):
        load(["arm=narrow"])
