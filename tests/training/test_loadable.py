"""Models by name: where they are looked for, what goes first, and what is said where there is none."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

import headwise
from headwise.cli import main
from headwise.errors import InputError
from headwise.training.loadable import find_run, loadable
from headwise.training.packing import neutral
from headwise.training.run import train
from tests.training.recipes import tiny

NAMES = {"maze-12", "sudoku-9", "parser-ewt-small", "walk", "facts-chat"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny(tmp_path_factory.mktemp("loadable"), updates=5), progress=False)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no models on this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADWISE_WEIGHTS", raising=False)
    monkeypatch.setattr("headwise.training.loadable.find_spec", lambda name: None)
    return tmp_path


def test_the_published_names_are_known_without_their_package(elsewhere: Path) -> None:
    found = loadable()
    assert found.keys() >= NAMES
    assert all(line and place is None for line, place in found.values())


def test_a_name_without_its_package_says_how_to_get_it(elsewhere: Path) -> None:
    with pytest.raises(InputError, match=r"walk: not on this machine; pip install headwise-weights, or make weights"):
        headwise.load("walk")


def test_a_name_is_found_in_the_package(run: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("HEADWISE_WEIGHTS", raising=False)
    shutil.copytree(run, elsewhere / "site" / "headwise_weights" / "walk")
    (elsewhere / "site" / "headwise_weights" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(elsewhere / "site")
    monkeypatch.delitem(sys.modules, "headwise_weights", raising=False)
    assert find_run("walk") == elsewhere / "site" / "headwise_weights" / "walk"
    ours, theirs = headwise.load("walk").state_dict(), headwise.load(run).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_folder_that_is_named_goes_before_the_package_and_a_path_before_both(
    run: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, elsewhere / "mine" / "walk")
    shutil.copytree(run, elsewhere / "mine" / "of-my-own")
    monkeypatch.setenv("HEADWISE_WEIGHTS", str(elsewhere / "mine"))
    assert find_run("walk") == elsewhere / "mine" / "walk"
    assert find_run("of-my-own") == elsewhere / "mine" / "of-my-own"
    assert loadable()["of-my-own"] == ("", elsewhere / "mine" / "of-my-own")
    (elsewhere / "walk").mkdir()
    assert find_run("walk") == Path("walk")
    assert find_run("./of-my-own") == Path("of-my-own")  # a path, though there is nothing


def test_what_is_close_to_a_name_is_asked_about(elsewhere: Path) -> None:
    with pytest.raises(InputError, match=r"sudoku9: neither a directory nor a model; .*did you mean sudoku-9\?"):
        headwise.load("sudoku9")
    with pytest.raises(InputError, match="nowhere: not a run directory"):
        headwise.load("nowhere")


def test_a_folder_of_models_that_is_none_is_said(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWISE_WEIGHTS", str(elsewhere / "gone"))
    with pytest.raises(InputError, match=r"HEADWISE_WEIGHTS=.*gone: no such folder"):
        headwise.load("walk")


def test_a_damaged_model_is_one_line(run: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(run, elsewhere / "mine" / "walk")
    monkeypatch.setenv("HEADWISE_WEIGHTS", str(elsewhere / "mine"))
    weights = elsewhere / "mine" / "walk" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(InputError, match=r"model\.safetensors: damaged or no safetensors file"):
        headwise.load("walk")
    weights.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: not found"):
        headwise.load("walk")


def test_a_model_of_an_accelerator_is_loaded_where_there_is_none(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    for file in ("config.yaml", "model.json"):
        where = tmp_path / "run" / file
        text = where.read_text()
        changed = text.replace("device: cpu", "device: cuda").replace('"device": "cpu"', '"device": "cuda"')
        assert changed != text
        where.write_text(changed)
    model = headwise.load(tmp_path / "run")
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_commands_take_a_name_and_write_nothing_beside_the_model(
    run: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, elsewhere / "mine" / "walk")
    monkeypatch.setenv("HEADWISE_WEIGHTS", str(elsewhere / "mine"))
    before = sorted(file.name for file in (elsewhere / "mine" / "walk").rglob("*"))
    assert main(["evaluate", "walk", "task.test_examples=8", "--json"]) == 0
    assert '"test_examples": 8' in capsys.readouterr().out
    assert main(["list", "weights"]) == 0
    out = capsys.readouterr().out
    assert str(elsewhere / "mine" / "walk") in out.replace("\n", "")
    assert "not on this machine" in out
    assert sorted(file.name for file in (elsewhere / "mine" / "walk").rglob("*")) == before


def test_what_is_shared_is_as_any_machine_would_have_it(tmp_path: Path) -> None:
    """Also of a task that refuses its own settings without the rest of the run."""
    words = ["task=sudoku_singles", "task.positions=none", "arm=looped"]
    here = headwise.configure([*words, "device=cpu", f"output={tmp_path}", f"cache={tmp_path}", "training.threads=1"])
    assert neutral(here) == headwise.configure(words)


def test_a_model_is_shown_and_exported_by_its_name_and_nothing_is_written_beside_it(
    run: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, elsewhere / "models" / "walk")
    monkeypatch.setenv("HEADWISE_WEIGHTS", str(elsewhere / "models"))
    before = sorted((elsewhere / "models").rglob("*"))
    assert main(["show", "walk"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "page: runs/show-walk/show.html"
    assert main(["show", "walk", "walk", "output=two.html"]) == 0
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    assert main(["export", "walk", "onnx"]) == 0
    assert (elsewhere / "runs" / "onnx-walk" / "model.onnx").is_file()
    assert sorted((elsewhere / "models").rglob("*")) == before
