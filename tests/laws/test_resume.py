"""Law 8 for every arm: N updates, stop, resume, N updates equal 2N, bit for bit.

What else a stop can do to a run (damaged files, other signals, early stopping) is in tests/training/test_resume.py.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from headwise.laws.arms import RECURSIVE
from headwise.models.sizes import ModelConfig
from headwise.tasks.sorting import SortingConfig
from headwise.tasks.walk.config import WalkConfig
from headwise.training.config import RunConfig
from headwise.training.run import train
from tests.training.recipes import recipe
from tests.training.test_resume import differing, final_state, interrupted_run

from .arms import ARMS, fitted


def settings(name: str, output: Path, shape: ModelConfig | None = None) -> RunConfig:
    few: dict[str, int] = {"train_examples": 12, "validation_examples": 4, "test_examples": 4}
    arm, task, heads = fitted(ARMS[name]), SortingConfig(length=4, **few), 0
    if arm.router.follows_route:  # of which a task has to tell
        task, heads = WalkConfig(nodes=4, relations=2, hops=2, **few), 2
    return RunConfig(
        task=task,
        arm=arm,
        model=shape or ModelConfig(width=16, heads=4, ffn=16, dropout=0.1, structural_heads=heads),
        training=recipe(updates=6, batch_size=4, validate_every=6),
        device="cpu",
        output=str(output),
    )


@pytest.mark.parametrize("name", ARMS)
def test_a_run_stopped_half_way_and_resumed_is_the_uninterrupted_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed_is_whole(settings(name, tmp_path / "whole"), tmp_path, monkeypatch)


def test_so_is_one_of_blocks_as_recursive_reasoners_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings("hrm_token", tmp_path / "whole", replace(RECURSIVE, depth=1, dropout=0.1))
    resumed_is_whole(config, tmp_path, monkeypatch)


def resumed_is_whole(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(config, progress=False)
    segments = config.arm.refinement.segments
    half = -(-3 // segments) * segments  # a batch gets all its segments first
    stopped = interrupted_run(replace(config, output=str(tmp_path / "parts")), monkeypatch, half)
    train(resume=stopped, progress=False)
    assert differing(final_state(whole), final_state(stopped)) == []
    assert (whole / "model.safetensors").read_bytes() == (stopped / "model.safetensors").read_bytes()
