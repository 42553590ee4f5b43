"""The arms that every law is tested on."""

import torch

from headwise.laws.arms import HRM, SHAPE, TOKEN, VARIANTS, arms, causal, fitted, perturbed, shipped, stand_in
from headwise.models.refusals import TaskFacts

__all__ = [
    "ARMS",
    "CAUSAL",
    "HRM",
    "SHAPE",
    "TOKEN",
    "VARIANTS",
    "TaskFacts",
    "fitted",
    "grid",
    "perturbed",
    "shipped",
    "stand_in",
]

ARMS = arms()
CAUSAL = sorted(name for name, arm in ARMS.items() if causal(arm))


def grid(rows: int, columns: int) -> torch.Tensor:
    """Row and column of each cell, int64 [L, 2]."""
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
