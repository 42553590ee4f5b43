"""Metrics per example. Kendall's tau is taken between ranks of elements, never between lists of indices.

A prediction enters as ranks, int64 [B, n]: a permutation of 0..n-1 per row, ties broken before by `rank_by`
(tau-b on tied scores exceeds the ceiling).
Legend: B batch, n elements.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.sorting.hints import by_depth, real_hints, smaller_larger


def inverse(permutation: Tensor) -> Tensor:
    """The inverse of each row of a permutation [B, n]: from ranks to the order of elements, and back."""
    places = torch.arange(permutation.shape[1], device=permutation.device).expand_as(permutation)
    return torch.empty_like(permutation).scatter_(1, permutation, places)


def rank_by(score: Tensor) -> Tensor:
    """Rank of each element by ascending score [B, n], ties in order of position; int64 [B, n]."""
    return inverse(score.argsort(dim=1, stable=True))


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """+1 where a pair stands in the same order in both rankings, -1 where it does not; float [B, n, n], diagonal 0."""
    return (a[:, :, None] - a[:, None, :]).sign().float() * (b[:, :, None] - b[:, None, :]).sign().float()


def mean_over(values: Tensor, pairs: Tensor) -> Tensor:
    """Mean of [B, n, n] over the chosen pairs (bool [B, n, n]), per example [B]; NaN where there are none."""
    return torch.where(pairs, values, 0.0).sum((1, 2)) / pairs.sum((1, 2))


def kendall_tau(a: Tensor, b: Tensor) -> Tensor:
    """Kendall's tau between two rankings [B, n] without ties, per example [B]: (concordant - discordant) / pairs."""
    n = a.shape[1]
    return agreement(a, b).sum((1, 2)) / (n * (n - 1))


def argsort_tau(a: Tensor, b: Tensor) -> Tensor:
    """The original's number: tau between the lists of indices in rank order, whose values are arbitrary labels.

    For comparison with published tables only. With every rank cyclically off by one at n=20 it is -0.04 where the
    true tau is 0.80, and the best possible sorter scores 0.05 on that input: it must never select a model.
    """
    return kendall_tau(inverse(a), inverse(b))


def pair_groups(batch: Batch) -> dict[str, Tensor]:
    """The groups of pairs that tau is reported on, by metric: {"rank_tau...": bool [B, n, n]}."""
    visible = batch["visible"]
    row, column = visible[:, :, None], visible[:, None, :]
    other = ~torch.eye(visible.shape[1], dtype=torch.bool, device=visible.device)
    groups = {
        "rank_tau": other.expand(len(visible), -1, -1),
        "rank_tau_visible": row & column & other,
        "rank_tau_mixed": row ^ column,
    }
    if "hints" in batch:
        groups |= {f"rank_tau_{name}": pairs for name, pairs in by_depth(batch).items()}
    return groups


def measure(predicted: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Every metric of the predicted ranks [B, n], per example, float [B].

    rank_tau (primary), rank_tau_visible (both visible), rank_tau_mixed (one masked), with hints also
    rank_tau_depth_1, _2, _3, _4plus and rank_tau_undetermined (pairs by chain depth; NaN where an example has none);
    slot_accuracy (fraction of elements at their true rank), perfect (whole array right), argsort_tau (see there).
    """
    true = batch["ranks"]
    agreed = agreement(predicted, true)
    hit = (predicted == true).float()
    return {
        **{name: mean_over(agreed, pairs) for name, pairs in pair_groups(batch).items()},
        "slot_accuracy": hit.mean(1),
        "perfect": hit.amin(1),
        "argsort_tau": argsort_tau(predicted, true),
    }


def agrees(predicted: Tensor, batch: Batch) -> Tensor:
    """Whether predicted ranks [B, n] contradict neither the order of the visible values nor a hint, bool [B]."""
    visible, values = batch["visible"], batch["values"]
    below = visible[:, :, None] & visible[:, None, :] & (values[:, :, None] < values[:, None, :])
    right = ~(below & (predicted[:, :, None] > predicted[:, None, :])).flatten(1).any(1)
    if "hints" in batch:
        low, high = smaller_larger(batch)
        kept = predicted.gather(1, low) < predicted.gather(1, high)
        right &= (kept | ~real_hints(batch)).all(1)
    return right
