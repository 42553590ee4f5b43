"""The harder form: hints reveal some comparisons that involve masked elements, and order follows from chains of them.

Hints are either a fixed number of pairs drawn uniformly, or all pairs of near ranks. Nothing between: hints drawn from
the near pairs say, besides who is smaller, that the two are near, and what follows from the comparisons alone is no
longer what can be known (measured: it promises a tau of 0.84 where 0.75 comes true).
Legend: B batch, n elements, h hints.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwise.tasks.base import Batch

CODES = 64
"""Identity codes that exist. Each array deals them out afresh, so that a code means nothing by itself."""


def pairs_of(n: int) -> int:
    """Number of unordered pairs among n elements."""
    return n * (n - 1) // 2


def pairs_within(n: int, span: int) -> int:
    """Number of unordered pairs of ranks 0..n-1 that differ by at most `span`."""
    return pairs_of(n) - pairs_of(n - span)


def draw_hints(
    ranks: NDArray[np.int64], visible: NDArray[np.bool_], count: int, span: int | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Which pairs are compared: `count` of those with a masked element and, given `span`, near ranks.

    Args:
        ranks: true ranks, int [B, n].
        visible: bool [B, n].
        count: h; where fewer pairs qualify, the rest of the h places is padding.
        span: largest difference of true ranks, or None for any.
        rng: source of the draw.

    Returns:
        Positions of the two elements, int64 [B, h, 2], in random order; which places are real, bool [B, h].
    """
    first, second = np.triu_indices(ranks.shape[1], 1)
    eligible = ~(visible[:, first] & visible[:, second])  # [B, pairs]
    if span is not None:
        eligible &= np.abs(ranks[:, first] - ranks[:, second]) <= span
    chosen = np.where(eligible, rng.random(eligible.shape), 2.0).argsort(axis=1)[:, :count]  # [B, h]
    pairs = np.stack([first[chosen], second[chosen]], axis=-1)  # [B, h, 2]
    flip = rng.random(chosen.shape) < 0.5
    pairs[flip] = pairs[flip][:, ::-1]
    return pairs, np.arange(count) < eligible.sum(axis=1, keepdims=True)


def smaller_larger(batch: Batch) -> tuple[Tensor, Tensor]:
    """Positions of the smaller and of the larger element of each hint, both int64 [B, h]."""
    first, second = batch["hints"].unbind(-1)
    return torch.where(batch["outcomes"], first, second), torch.where(batch["outcomes"], second, first)


def real_hints(batch: Batch) -> Tensor:
    """Which hint tokens are hints and not padding, bool [B, h]."""
    if "mask" in batch:
        return batch["mask"][:, batch["values"].shape[1] :]
    return torch.ones_like(batch["outcomes"])


def chain_depth(batch: Batch) -> Tensor:
    """Smallest number of hints in a derivation of each pair's order by transitivity; float [B, n, n], symmetric.

    The order of two visible elements costs 0, a hint costs 1, a chain the sum of its links: the shortest directed
    path, by min-plus closure (Floyd-Warshall) over the batch. 0 between visible elements and on the diagonal, infinite
    where the order does not follow. (That no integer fits between two visible values is not used.)
    """
    visible, ranks = batch["visible"], batch["ranks"]
    B, n = ranks.shape
    cost = torch.full((B, n, n), torch.inf, device=ranks.device)
    cost.diagonal(dim1=1, dim2=2).zero_()
    known = visible[:, :, None] & visible[:, None, :] & (ranks[:, :, None] < ranks[:, None, :])
    cost[known] = 0.0
    if "hints" in batch:
        low, high = smaller_larger(batch)
        row, column = real_hints(batch).nonzero(as_tuple=True)
        cost[row, low[row, column], high[row, column]] = 1.0
    for via in range(n):
        cost = torch.minimum(cost, cost[:, :, via, None] + cost[:, None, via, :])
    return torch.minimum(cost, cost.transpose(1, 2))


def by_depth(batch: Batch) -> dict[str, Tensor]:
    """The pairs with a masked element by chain depth: bool [B, n, n] by name, deep ones together."""
    depth = chain_depth(batch)
    exact = {f"depth_{d}": depth == d for d in (1, 2, 3)}
    return {**exact, "depth_4plus": (depth >= 4) & depth.isfinite(), "undetermined": depth.isinf()}
