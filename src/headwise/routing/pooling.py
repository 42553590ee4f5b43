"""Means over the real tokens of a batch.

Legend: B batch, L length, S 1 or L, D width.
"""

from typing import Any

import torch
from torch import Tensor, distributed


def pooled(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over real tokens: [B, S, D] to [B, 1, D]; S = 1 stays as it is."""
    if x.shape[1] == 1:
        return x
    if mask is None:
        return x.sum(1, keepdim=True) / x.shape[1]  # its gradient is a row to add; that of `mean` is as large as x
    weight = mask.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1)


def first_token(x: Tensor, mask: Tensor | None) -> Tensor:
    """The first real token of each example, [B, L, D] to [B, 1, D]; padding may come first."""
    first = x[:, :1]
    if mask is None:
        return first
    place = mask.int().argmax(1)[:, None, None]  # [B, 1, 1]
    return x.gather(1, place.expand_as(first))


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of [B, S] over examples and real tokens, a scalar; each example counts alike."""
    return batch_mean(pooled(values.unsqueeze(-1), mask).flatten())


def batch_mean(values: Tensor) -> Tensor:
    """Mean of [B] over the examples of a batch, those of other processes included."""
    return _over_processes(values.sum(0), values.new_tensor(float(len(values)))) if _shared() else values.mean(0)


def token_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of [B, S, D] over all real tokens of the batch, [D]; each token counts alike, S = 1 once per example.

    Tokens that other processes have of the same batch are included.
    """
    if mask is None or values.shape[1] == 1:
        count = values.new_tensor(float(values.shape[0] * values.shape[1])) if _shared() else None
        return values.mean((0, 1)) if count is None else _over_processes(values.sum((0, 1)), count)
    weight = mask.unsqueeze(-1).to(values.dtype)
    return _over_processes((values * weight).sum((0, 1)), weight.sum())


def _shared() -> bool:
    """Whether a batch is shared by several processes: then a statistic of it is one of all their examples."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def _over_processes(total: Tensor, count: Tensor) -> Tensor:
    """total / count, both summed over processes. Each process gets the whole gradient, as if the sum were its own;
    where gradients are averaged over processes (DistributedDataParallel) the average is that of one process."""
    if _shared():
        summed: Tensor = _AllReduce.apply(torch.cat([total.reshape(-1), count.reshape(1)]))  # type: ignore[no-untyped-call]
        total, count = summed[:-1].view_as(total), summed[-1]
    return total / count.clamp_min(1)


class _AllReduce(torch.autograd.Function):
    """The sum over processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        value = value.clone()
        distributed.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _AllReduce.forward(ctx, gradient)
