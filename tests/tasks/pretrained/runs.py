"""Tiny runs of task=pretrained: a model of random weights on generated text."""

from pathlib import Path
from typing import Any

from headwise.models.arm import Arm
from headwise.routing.gates import TopK
from headwise.routing.routers import LearnedRouter
from headwise.schema import build
from headwise.tasks.pretrained.config import PretrainedConfig
from headwise.training.config import RunConfig, TrainingConfig

FEW = {"context": 16, "train_blocks": 24, "validation_blocks": 2, "test_blocks": 3}
TOP = Arm(LearnedRouter(), TopK(3))


def config(**settings: Any) -> PretrainedConfig:
    """Settings of the task, small where they are not given."""
    return PretrainedConfig(**{"model": "tiny", "data": "synthetic"} | FEW | settings)


def run_config(output: Path, arm: Arm = TOP, training: dict[str, Any] | None = None, **settings: Any) -> RunConfig:
    """A run of six updates."""
    recipe = {"updates": 6, "batch_size": 4, "validate_every": 3, "log_every": 3, "loggers": [], "threads": 1}
    return RunConfig(
        task=config(**settings),
        arm=arm,
        training=build(TrainingConfig, recipe | (training or {}), "training"),
        device="cpu",
        output=str(output),
    )
