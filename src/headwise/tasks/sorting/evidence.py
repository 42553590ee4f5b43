"""What an array shows about its masked elements, in the order in which it is easiest to reason about.

Legend: B arrays, n elements, m visible, k = n - m masked, U = POOL - m unused integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.sorting.arrays import LOWEST, POOL
from headwise.tasks.sorting.hints import real_hints, smaller_larger


@dataclass(frozen=True)
class Evidence:
    """Elements are reordered: the k masked ones first, then the m visible ones by ascending value.

    Args:
        place: for each element of the array its place in that order, int64 [B, n].
        unused: how many unused integers lie below each visible element, int64 [B, m].
        less: whether a hint says that masked x is below masked y, bool [B, k, k].
        above: whether a hint says that masked y is above visible v, bool [B, k, m].
        under: whether a hint says that masked y is below visible v, bool [B, k, m].
    """

    place: Tensor
    unused: Tensor
    less: Tensor
    above: Tensor
    under: Tensor

    @property
    def integers(self) -> int:
        """U, how many integers a masked element may be."""
        return POOL - self.unused.shape[1]

    def assemble(self, masked: Tensor, mixed: Tensor) -> Tensor:
        """P(value_i < value_j) over all elements in the array's own order, [B, n, n], 1/2 on the diagonal.

        Args:
            masked: P(masked x < masked y), [B, k, k].
            mixed: P(masked y < visible v), [B, k, m].
        """
        B, _, m = mixed.shape
        visible = torch.ones(m, m, dtype=mixed.dtype).triu(1).expand(B, m, m)
        top, bottom = torch.cat([masked, mixed], dim=2), torch.cat([1 - mixed.transpose(1, 2), visible], dim=2)
        ordered = torch.cat([top, bottom], dim=1)
        ordered.diagonal(dim1=1, dim2=2).fill_(0.5)
        rows = torch.arange(B)[:, None, None]
        return ordered[rows, self.place[:, :, None], self.place[:, None, :]]


def unused_below(batch: Batch) -> Tensor:
    """How many integers that no visible element has lie below each element's value, int64 [B, n]."""
    values, visible = batch["values"], batch["visible"]
    smaller = visible[:, None, :] & (values[:, None, :] < values[:, :, None])
    return values - LOWEST - smaller.sum(2)


def evidence(batch: Batch) -> Evidence:
    """The evidence in a batch of arrays; all have the same number of visible elements."""
    values, visible = batch["values"], batch["visible"]
    B, n = values.shape
    m = int(visible[0].sum())
    order = torch.where(visible, values, LOWEST - 1).argsort(dim=1, stable=True)  # [B, n]: masked, then visible
    place = torch.empty_like(order).scatter_(1, order, torch.arange(n).expand(B, n))
    unused = unused_below(batch).gather(1, order[:, n - m :])
    stated = torch.zeros(B, n, n, dtype=torch.bool)  # in the new order: a hint says that the row is below the column
    if "hints" in batch:
        row, column = real_hints(batch).nonzero(as_tuple=True)
        low, high = (place[row, element[row, column]] for element in smaller_larger(batch))
        stated[row, low, high] = True
    k = n - m
    return Evidence(place, unused, stated[:, :k, :k], stated[:, k:, :k].transpose(1, 2), stated[:, :k, k:])
