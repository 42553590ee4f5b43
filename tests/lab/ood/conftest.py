"""Tiny comparisons with real runs, trained once; each test gets a copy, or only reads."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headwise.lab.comparison.compare import compare
from headwise.models.sizes import ModelConfig
from headwise.training.config import RunConfig, task_from_plain
from tests.lab.conftest import arm
from tests.training.recipes import recipe

FEW = {"train_examples": 24, "validation_examples": 12, "test_examples": 40}
GATED = {
    "router": {"name": "learned", "granularity": "token"},
    "gate": {"name": "sigmoid"},
    "refinement": {"steps": 3, "injection": "input"},
}
SHAPE = ModelConfig(width=16, heads=2, ffn=32)


def config(name: str, task: dict[str, Any], plain_arm: dict[str, Any], shape: ModelConfig = SHAPE) -> RunConfig:
    return RunConfig(
        task=task_from_plain(task),
        arm=arm("baseline", **plain_arm),
        model=shape,
        training=recipe(updates=6, validate_every=6, batch_size=12),
        name=name,
        device="cpu",
    )


def trained(output: Path, task: dict[str, Any], seeds: int = 3, shape: ModelConfig = SHAPE) -> Path:
    """A comparison of an arm without a router and one with a router in a loop."""
    arms = [("baseline", config("baseline", task, {}, shape)), ("gated", config("gated", task, GATED, shape))]
    compare(arms, seeds, "parameters", output, jobs=1)
    return output


@pytest.fixture(scope="session")
def sorting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of two arms on arrays of six; only to be read."""
    return trained(tmp_path_factory.mktemp("ood") / "sorting", {"name": "sorting", "length": 6, **FEW})


@pytest.fixture
def copied(sorting: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of that comparison."""

    def copy() -> Path:
        return Path(shutil.copytree(sorting, tmp_path / "comparison"))

    return copy


@pytest.fixture(scope="session")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One seed on walks of up to two hops, told step by step."""
    task = {"name": "walk", "instruction": "steps", "hops": 2, "nodes": 5, "relations": 2, **FEW}
    return trained(tmp_path_factory.mktemp("ood") / "walk", task, 1, replace(SHAPE, structural_heads=2))


@pytest.fixture(scope="session")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One seed on mazes of 4 x 4, with positions that know this size alone."""
    task = {"name": "maze", "size": 4, "train_mazes": 24, "validation_mazes": 8, "test_mazes": 12}
    return trained(tmp_path_factory.mktemp("ood") / "maze", task, 1)


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One seed on the characters of a running text, whose best possible loss is not known."""
    folder = tmp_path_factory.mktemp("ood")
    (folder / "corpus.txt").write_text("a rose is a rose is a rose; so is a nose\n" * 30)
    (folder / "other.txt").write_text("so is a rose; a nose is a nose\n" * 40)
    corpus = {"name": "language", "corpus": str(folder / "corpus.txt"), "tokenizer": "character", "context": 8}
    return trained(folder / "text", corpus, 1)
