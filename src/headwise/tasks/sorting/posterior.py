"""What a model can know: for each pair the probability, given all it is shown, that one element is below the other.

Every masked value is uniform over the unused integers, all distinct, subject to the comparisons that were revealed.
Three ways to the same table: a closed form (no hints), exact counting (few masked elements), Gibbs sampling (many).
Legend: B arrays, n elements, m visible, k masked, U unused integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.sorting.counting import count
from headwise.tasks.sorting.evidence import evidence, unused_below
from headwise.tasks.sorting.gibbs import sample
from headwise.tasks.sorting.hints import chain_depth

MOST_COUNTED = 10
"""Largest k that is counted exactly; each further masked element would more than double the time."""


@dataclass(frozen=True)
class Posterior:
    """Beliefs about each pair of elements, float64 [B, n, n].

    Args:
        below: P(value_i < value_j); 1/2 on the diagonal.
        certainty: |2 P - 1|, the expected agreement of the better guess. Its mean over pairs bounds what any order
            can expect. The |2 P - 1| of a sampled P is biased upwards; there it is what the guess from one half of
            the samples scores on the other half.
    """

    below: Tensor
    certainty: Tensor


def posterior(batch: Batch, seed: int) -> Posterior:
    """Beliefs by the cheapest of the ways; `seed` matters only where they are sampled."""
    if "hints" not in batch:
        return _beliefs(closed_form(batch))
    n = batch["values"].shape[1]
    masked = n - int(batch["visible"][0].sum())
    exact = masked <= MOST_COUNTED
    below = _true_order(batch)
    certainty = torch.ones_like(below) - torch.eye(n, dtype=below.dtype)
    unsettled = chain_depth(batch).isinf().flatten(1).any(1).nonzero()[:, 0]
    size = max(1, 2 ** (14 - masked)) if exact else 128  # the working set stays in the processor's cache
    for first in range(0, len(unsettled), size):
        rows = unsettled[first : first + size]
        part = {name: array[rows] for name, array in batch.items()}
        beliefs = _counted(part) if exact else _sampled(part, seed + int(rows[0]))
        below[rows], certainty[rows] = beliefs.below, beliefs.certainty
    return Posterior(below, certainty)


def closed_form(batch: Batch) -> Tensor:
    """`below` without hints: 1/2 between masked elements; a masked value is uniform over the U unused integers."""
    found = evidence(batch)
    B, k, m = found.under.shape
    mixed = (found.unused.double() / found.integers)[:, None, :].expand(B, k, m)
    return found.assemble(torch.full((B, k, k), 0.5, dtype=torch.float64), mixed)


def _counted(batch: Batch) -> Posterior:
    found = evidence(batch)
    return _beliefs(found.assemble(*count(found)))


def _sampled(batch: Batch, seed: int) -> Posterior:
    found = evidence(batch)
    start = torch.empty_like(found.place).scatter_(1, found.place, unused_below(batch))[:, : found.less.shape[1]]
    masked, mixed = sample(found, start, seed)
    return _beliefs(*(found.assemble(masked[half], mixed[half]) for half in (0, 1)))


def _beliefs(first: Tensor, second: Tensor | None = None) -> Posterior:
    """From one table that is exact, or from two independent estimates of it."""
    if second is None:
        return Posterior(first, (2 * first - 1).abs())
    a, b = 2 * first - 1, 2 * second - 1
    return Posterior((first + second) / 2, (a * b.sign() + b * a.sign()) / 2)


def _true_order(batch: Batch) -> Tensor:
    ranks = batch["ranks"]
    return (1 + (ranks[:, None, :] - ranks[:, :, None]).sign().double()) / 2
