"""Batches of sentences of similar length, filled by tokens instead of sentences.

Legend: N sentences, B batch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

POOL = 50
"""Batches that are drawn together and sorted by length in training: padding stays small, and batches differ between
epochs."""


def buckets(costs: NDArray[np.int64], budget: float, rng: np.random.Generator | None = None) -> list[Tensor]:
    """Indices of every sentence, once, in batches of at most `budget` tokens, padding included.

    Args:
        costs: tokens of each sentence, [N].
        budget: tokens of a batch; a sentence that is longer gets a batch of its own.
        rng: order of training, drawn from it: shuffled, sorted by length within pools, the batches shuffled. None, for
            evaluation, sorts all by length.

    Returns:
        int64 [B] each.
    """
    if rng is None:
        return _filled(np.argsort(costs, kind="stable"), costs, budget)
    order = rng.permutation(len(costs))
    pool = max(1, round(POOL * budget / max(costs.mean(), 1)))  # sentences
    batches: list[Tensor] = []
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        batches += _filled(part[np.argsort(costs[part], kind="stable")], costs, budget)
    return [batches[place] for place in rng.permutation(len(batches))]


def _filled(order: NDArray[np.int64], costs: NDArray[np.int64], budget: float) -> list[Tensor]:
    """Cut an order of rising cost where the next sentence would make a batch too large."""
    batches, first = [], 0
    for place in range(len(order)):
        if place > first and (place - first + 1) * costs[order[place]] > budget:
            batches.append(torch.from_numpy(order[first:place]))
            first = place
    return [*batches, torch.from_numpy(order[first:])]
