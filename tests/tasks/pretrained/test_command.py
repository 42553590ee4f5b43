"""`headwise retrofit`: the run of task=pretrained in one word, and what it says of it."""

import json
from pathlib import Path

import pytest

from headwise.cli import main
from tests.tasks.pretrained.runs import FEW

pytest.importorskip("transformers", reason="the extra hf is not installed")


def test_a_retrofit_is_told_against_the_untouched_model_and_the_oracle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"task.{key}={value}" for key, value in FEW.items() if key != "context"]
    words += ["quick=true", "task.context=16", "keep=0.5", "training.updates=2", "training.threads=1", "device=cpu"]
    assert main(["retrofit", "--json", *words, f"output={tmp_path / 'run'}"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "run" / "result.json").read_text())
    held, references = printed["held_out"], json.loads((tmp_path / "run" / "summary.json").read_text())["references"]
    assert held["added"] == pytest.approx(held["loss"] - held["untouched"], abs=1e-6)
    assert held["oracle_added"] == pytest.approx(references["oracle"] - references["untouched"], abs=1e-5)
    assert printed["share_on"] == pytest.approx(printed["heads_on"] / 4)
    main(["doctor", "--json", str(tmp_path / "run")])  # two updates are not enough, which it may find
    examined = json.loads(capsys.readouterr().out)
    assert examined["unexamined"] == {}, "also with gates from outside, under a budget over the model"


def test_a_retrofit_is_of_pretrained_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retrofit", "task=maze"]) == 2
    assert "retrofit is of task=pretrained; for another, headwise train task=..." in capsys.readouterr().err
