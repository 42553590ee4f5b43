"""What changes during a run, each as a pure function of where the run is: nothing to save, nothing to resume.

Legend: update, the number of optimiser steps already taken (0 before the first); progress, update / updates of the run,
in 0..1; epoch, passes over the training data so far, a fraction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from headwise.training.config import TrainingConfig

Decay = Literal["constant", "cosine", "linear"]


def learning_rate_factor(update: int, updates: int, warmup: float, schedule: Decay) -> float:
    """The factor on every role's learning rate for the optimiser step that follows `update` steps.

    A linear warm-up over w = round(warmup · updates) steps starts at 1/w (never at 0: a step that moves nothing is
    a wasted batch) and reaches 1 at step w; after it the factor stays (`constant`) or falls to just above 0 at the last
    step, as half a cosine or in a line.
    """
    steps = round(warmup * updates)
    if update < steps:
        return (update + 1) / steps
    if schedule == "constant":
        return 1.0
    done = min(1.0, (update - steps) / max(1, updates - steps))
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Temperature:
    """Temperature of the gate functions' softmax: max(end, start · decay^epoch), changed once an epoch.

    Args:
        start: value in the first epoch; default 1, the softmax as it is. Published: 2.0.
        end: the value it falls to and stays at; default 1. Published: 0.7.
        decay: factor per epoch; default 0.95, as published.
    """

    start: float = 1.0
    end: float = 1.0
    decay: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.end <= self.start:
            raise ValueError(f"end={self.end} and start={self.start}; choose 0 < end <= start")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay={self.decay}; choose 0 < decay <= 1")

    def value(self, epoch: float) -> float:
        return max(self.end, self.start * self.decay ** math.floor(epoch))


@dataclass(frozen=True)
class Entropy:
    """Weight of the gates' entropy in the objective.

    Args:
        direction: `diverse` rewards spread gates (subtracts the entropy), `sharp` rewards peaked ones (adds it), `none`
            leaves it out (default). The original added it and called it diversity.
        weight: at the start of the run; default 1e-3, as published.
        halve_every: share of the run after which the weight is halved, again and again; null keeps it. Default 0.1, the
            published 5 of 50 epochs.
    """

    direction: Literal["diverse", "sharp", "none"] = "none"
    weight: float = 1e-3
    halve_every: float | None = 0.1

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight={self.weight}; choose 0 or more (its sign comes from direction)")
        if self.halve_every is not None and not 0 < self.halve_every <= 1:
            raise ValueError(
                f"halve_every={self.halve_every}; choose a share of the run, 0 < halve_every <= 1, or null"
            )

    def value(self, progress: float) -> float:
        """The signed weight: negative for `diverse`."""
        if self.direction == "none":
            return 0.0
        # The small addition keeps 3 · 0.1 of a run, 0.30000000000000004 in floats, from halving an update late.
        halvings = 0 if self.halve_every is None else math.floor(progress / self.halve_every + 1e-9)
        return (-1.0 if self.direction == "diverse" else 1.0) * self.weight * 0.5**halvings


def set_learning_rates(optimizer: torch.optim.Optimizer, config: TrainingConfig, update: int) -> None:
    """Write the learning rates of update number `update`, from 1, into the optimiser's groups."""
    factor = learning_rate_factor(update - 1, config.updates, config.warmup, config.schedule)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def loss_weights(config: TrainingConfig, update: int) -> dict[str, float]:
    """Weights of the routing losses in update number `update`, from 1, by name."""
    progress = (update - 1) / config.updates
    weights = {name: ramped(weight, progress, config.ramp) for name, weight in config.losses.items()}
    return weights | {"halting": config.losses["halting"], "entropy": config.entropy.value(progress)}


def ramped(weight: float, progress: float, ramp: float) -> float:
    """A loss weight that rises in a line from 0 to `weight` over the first `ramp` share of the run."""
    return weight if progress >= ramp else weight * progress / ramp
