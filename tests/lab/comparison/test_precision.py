"""`training.precision=auto` where several runs are compared: settled once, and kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headwise.files import read_mapping, read_yaml
from headwise.lab.comparison.compare import compare
from headwise.lab.ladder.climb import ladder
from headwise.lab.scaling.scale import scale
from headwise.models.precision import Choice, chosen
from headwise.training.config import RunConfig, TrainingConfig
from tests.lab.conftest import SCORES, FakeTrain, run_config

AUTO = TrainingConfig(updates=40, batch_size=4, precision="auto", loggers=())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Choice]:
    """What was chosen so far: bf16 and fp32 in turns, so that a second look would be noticed."""
    choices: list[Choice] = []

    def in_turns(step: Callable[[str], object], device: str) -> Choice:
        step("fp32")
        choices.append(chosen({"fp32": 1.0, "bf16": 2.0 if len(choices) % 2 else 0.5}))
        return choices[-1]

    monkeypatch.setattr("headwise.training.precision.measure", in_turns)
    return choices


def arms(**changes: Any) -> list[tuple[str, RunConfig]]:
    return [(name, run_config(name, training=replace(AUTO, **changes), device="cpu")) for name in ("baseline", "hrm")]


def precisions(directory: Path) -> set[str]:
    """Of all runs below a directory."""
    return {read_yaml(file)["training"]["precision"] for file in directory.rglob("runs/*/*/config.yaml")}


def test_all_runs_of_a_comparison_share_one_precision_and_later_ones_too(
    tmp_path: Path, measured: list[Choice], fake_train: FakeTrain, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "headwise")
    result = compare(arms(), seeds=2, output=tmp_path, jobs=1, train=fake_train)
    assert precisions(tmp_path) == {"bf16"}
    assert "precision=bf16: a step takes fp32 1e+03 ms, bf16 500 ms" in caplog.text
    assert result["training"]["precision"] == "bf16"
    compare(arms(), seeds=3, output=tmp_path, jobs=1, train=fake_train)
    assert len(list(tmp_path.rglob("config.yaml"))) == 6
    assert precisions(tmp_path) == {"bf16"}
    assert len(measured) == 1


def test_the_runs_of_each_size_share_one_precision(
    tmp_path: Path, measured: list[Choice], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = FakeTrain(SCORES)
    scale(arms(), sizes=["tiny"], output=tmp_path, jobs=1, train=train)
    scale(arms(), sizes=["tiny", "small"], output=tmp_path, jobs=1, train=train, seeds=2)
    assert precisions(tmp_path / "tiny") == {"bf16"}
    assert precisions(tmp_path / "small") == {"fp32"}
    assert len(measured) == 2


def test_the_rungs_of_a_ladder_share_one_precision(tmp_path: Path, measured: list[Choice]) -> None:
    ladder(arms(updates=2, validate_every=2), output=tmp_path)  # up to the first, which such a run does not pass
    planned = read_mapping(tmp_path / "plan.json")
    assert [rung["training"]["precision"] for rung in planned.values()] == ["bf16", "bf16"]
    assert precisions(tmp_path) == {"bf16"}
    assert len(measured) == 1


def test_a_precision_that_was_given_is_not_measured(
    tmp_path: Path, measured: list[Choice], fake_train: FakeTrain
) -> None:
    compare(arms(precision="fp32"), seeds=1, output=tmp_path, jobs=1, train=fake_train)
    assert precisions(tmp_path) == {"fp32"}
    assert not measured
