"""A comparison without training: its runs are made-up numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from headwise.lab.comparison.compare import compare
from headwise.lab.report.write import write_report
from headwise.models.arm import Arm
from headwise.models.sizes import ModelConfig
from headwise.schema import build
from headwise.training.config import RunConfig, TrainingConfig, task_from_plain
from tests.lab.made_up import CEILING as CEILING
from tests.lab.made_up import FLOOR as FLOOR
from tests.lab.made_up import ONE_LINE_RULE as ONE_LINE_RULE
from tests.lab.made_up import SCORES as SCORES
from tests.lab.made_up import FakeTrain as FakeTrain
from tests.lab.made_up import write_curves as write_curves

ARMS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "looped": {"refinement": {"steps": 6, "injection": "input", "supervision": "uniform"}},
    "hrm": {
        "router": {"name": "learned", "granularity": "sequence"},
        "controller": {"name": "hrm", "period": 4},
        "refinement": {"steps": 6, "injection": "input", "supervision": "uniform"},
    },
    "linear": {"router": {"name": "learned", "granularity": "token"}},
}
MODEL = ModelConfig(width=64, heads=4, ffn=256)


def arm(name: str, **changes: Any) -> Arm:
    return build(Arm, ARMS[name] | changes, "arm")


def run_config(name: str, **changes: Any) -> RunConfig:
    task = task_from_plain({"name": "sorting", "length": 12, "test_examples": 50})
    settings = {"arm": arm(name), "model": MODEL, "training": TrainingConfig(updates=40), "name": name}
    return RunConfig(task, **(settings | changes))


@pytest.fixture
def fake_train() -> FakeTrain:
    return FakeTrain(SCORES)


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished comparison of three arms with three seeds, with its page; only to be read."""
    directory = tmp_path_factory.mktemp("lab") / "comparison"
    run_comparison(directory, FakeTrain(SCORES))
    write_report(directory)
    return directory


def run_comparison(
    output: Path, train: Callable[..., Path], names: Sequence[str] = ("baseline", "looped", "hrm"), **settings: Any
) -> dict[str, Any]:
    arms = [(name, run_config(name)) for name in names]
    return compare(arms, **{"seeds": 3, "output": output, "jobs": 1, "train": train, **settings})
