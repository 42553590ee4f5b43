"""Controls of the walk without training: `FakeTrain`'s runs have made-up values between 0 and its ceiling, 0.5014."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from headwise.lab.control.arms import choose
from headwise.lab.control.control import control
from headwise.lab.report.write import write_report
from tests.lab.conftest import FakeTrain

SETTINGS = ["seed=0", "task.test_examples=20", "task.validation_examples=4", "device=cpu"]
Scores = Mapping[str, Sequence[float]]

LOW, HIGH = [0.200, 0.204, 0.198], [0.401, 0.399, 0.404]
SCORES: Scores = {
    "looped": LOW,
    "gated": HIGH,
    "hrm": [0.199, 0.205, 0.197],
    "random": [0.201, 0.203, 0.199],
    "oracle": [0.500, 0.501, 0.500],
}
ARMS = tuple(SCORES)


chosen = cache(choose)


def run(output: Path, train: FakeTrain, arms: Sequence[str] = ARMS, words: Sequence[str] = (), **how: Any) -> Any:
    """The control of these arms at the known setting, or that of the words."""
    return control(
        chosen(tuple(arms), (*SETTINGS, *words)),
        **{"output": output, "jobs": 1, "widths": [0, 8], "seeds": 3, "train": train, **how},
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished control with its pages; only to be read."""
    directory = tmp_path_factory.mktemp("control")
    run(directory, FakeTrain(SCORES))
    write_report(directory)
    return directory


@pytest.fixture
def headline(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Outcome and sentence for made-up values, on a task of the user's own unless the words leave that out."""

    def found(words: Sequence[str] = ("task=walk",), seeds: int = 3, **scores: Sequence[float]) -> tuple[str, str]:
        result = run(tmp_path, FakeTrain(scores), tuple(scores), words, seeds=seeds, widths=[])
        return result["outcome"], result["headline"]

    return found
