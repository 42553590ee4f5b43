"""Tiny runs that draw what they start from, trained once; only to be read."""

from pathlib import Path
from typing import Any

import pytest

from headwise.models.sizes import ModelConfig
from headwise.training.config import RunConfig, task_from_plain
from headwise.training.run import train
from tests.training.recipes import arm, recipe

RANDOM = {"refinement": {"steps": 2, "injection": "input", "initial_state": {"name": "random"}}}
PLAIN = {"refinement": {"steps": 2, "injection": "input"}}
STREAMS = {
    "refinement": {
        "recursion": {"name": "two_streams", "period": 2},
        "initial_state": {"name": "random"},
        "steps": 4,
        "segments": 2,
    }
}
MAZES = {"name": "maze", "size": 4, "min_path_length": 3, "train_mazes": 24, "validation_mazes": 8, "test_mazes": 16}


def trained(folder: Path, task: dict[str, Any], plain_arm: dict[str, Any]) -> Path:
    """The directory of a run of six updates."""
    config = RunConfig(
        task=task_from_plain(task),
        arm=arm(plain_arm),
        model=ModelConfig(width=16, heads=2, ffn=16),
        training=recipe(updates=6, validate_every=6, batch_size=12),
        name="thinker",
        device="cpu",
        output=str(folder),
    )
    return Path(train(config, progress=False))


@pytest.fixture(scope="session")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mazes of 4 x 4, from random states."""
    return trained(tmp_path_factory.mktemp("maze"), MAZES, RANDOM)


@pytest.fixture(scope="session")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two streams, in two segments of two cycles."""
    return trained(tmp_path_factory.mktemp("streams"), MAZES, STREAMS)


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Walks, from the embedding: nothing is drawn, and the task has no check of an answer."""
    few = {"train_examples": 24, "validation_examples": 12, "test_examples": 12}
    return trained(
        tmp_path_factory.mktemp("walk"), {"name": "walk", "hops": 2, "nodes": 5, "relations": 2, **few}, PLAIN
    )
