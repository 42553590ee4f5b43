"""Metrics of predicted nodes, per example. Legend: B examples, N nodes, T the most hops."""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.tasks.base import Batch


def measure(predicted: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Metrics of the predicted nodes, bool [B, N], each float [B].

    accuracy (primary: exactly the nodes where the walk ends), and accuracy_1_hop, accuracy_2_hops, ... (the same, NaN
    for walks of another length).
    """
    exact = (predicted == batch["reached"][:, -1]).all(1).float()
    by_hops = groups(batch, batch["instruction"].shape[1])
    return {"accuracy": exact} | {name: torch.where(among, exact, torch.nan) for name, among in by_hops.items()}


def jaccard(predicted: Tensor, batch: Batch) -> Tensor:
    """Nodes that are both predicted and right over those that are either, float [B]; bool [B, N] are predicted."""
    answer = batch["reached"][:, -1]
    return (predicted & answer).sum(1) / (predicted | answer).sum(1)


def groups(batch: Batch, most: int) -> dict[str, Tensor]:
    """Which examples a metric by number of hops is about, {metric: bool [B]}."""
    return {f"accuracy_{n}_hop{'s' * (n > 1)}": batch["hops"] == n for n in range(1, most + 1)}
