"""Tiny runs for the tests of training, and a model of a user's own."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from headwise.models.arm import Arm
from headwise.models.sizes import ModelConfig
from headwise.schema import build
from headwise.tasks.sorting import SortingConfig
from headwise.training.config import RunConfig, TrainingConfig

# Everything at once that a resumed run has to get right: dropout and noise, a frozen start, temperature and weights
# that move, several epochs, and a stop that falls in the middle of one (5 updates an epoch).
STABLE = {
    "preset": "stable",
    "temperature": {"start": 2.0, "end": 0.7, "decay": 0.8},
    "entropy": {"direction": "diverse"},
    "freeze_controller": 0.2,
    "warmup": 0.1,
}
GUMBEL = {
    "router": {"name": "learned", "granularity": "token"},
    "gate": {"name": "gumbel"},
    "controller": {"name": "hrm", "period": 2},
    "refinement": {"steps": 3, "injection": "input", "supervision": "uniform"},
}
SEGMENTS = {
    "router": {"name": "learned", "granularity": "sequence"},
    "controller": {"name": "hrm", "period": 2},
    "refinement": {"steps": 2, "injection": "input", "segments": 3},
}
PONDER = {
    "router": {"name": "learned", "granularity": "sequence"},
    "controller": {"name": "hrm", "period": 2},
    "halting": {"name": "ponder"},
    "refinement": {"steps": 4, "injection": "input"},
}


def arm(plain: dict[str, Any]) -> Arm:
    return build(Arm, plain, "arm")


def recipe(**changes: Any) -> TrainingConfig:
    small = {"updates": 20, "batch_size": 8, "validate_every": 5, "log_every": 5, "loggers": []}
    return build(TrainingConfig, small | changes, "training")


def tiny(output: Path, plain_arm: dict[str, Any] | None = None, dropout: float = 0.0, **training: Any) -> RunConfig:
    """Sorting of six elements with a model of a few thousand parameters; a run takes about a second."""
    return RunConfig(
        task=SortingConfig(length=6, train_examples=40, validation_examples=16, test_examples=32),
        arm=arm(plain_arm or {}),
        model=ModelConfig(width=16, heads=2, ffn=16, dropout=dropout),
        training=recipe(**training),
        device="cpu",
        output=str(output),
    )


def with_(config: RunConfig, **changes: Any) -> RunConfig:
    """The same run with another recipe."""
    return replace(config, training=replace(config.training, **changes))


class Gate(nn.Module):
    """Of a user's own model: weighs four experts."""

    role: ClassVar[str] = "controller"

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.linear(x), -1)


class Readout(nn.Linear):
    """Of a user's own model."""

    role: ClassVar[str] = "readout"


class OwnModel(nn.Module):
    """A user's own model: nothing of headwise but the word `role`."""

    role: ClassVar[str] = "backbone"

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.Linear(3, 4)
        self.gate = Gate()
        self.readout = Readout(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(torch.tanh(self.experts(x)) * self.gate(x)).squeeze(-1)


def squared_error(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    loss = (model(batch["x"]) - batch["y"]).square().mean()
    return loss, {"loss": loss.detach()}


def own_batches(count: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 8, 3, generator=generator)
    return [{"x": part, "y": part.sum(-1)} for part in x]


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    """The records in a file of a run."""
    return [json.loads(line) for line in (run / name).read_text().splitlines()]
