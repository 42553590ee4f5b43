"""Means over the real tokens of a batch.

Legend: B batch, L length, S 1 or L, D width.
"""

from torch import Tensor


def pooled(x: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over real tokens: [B, S, D] to [B, 1, D]; S = 1 stays as it is."""
    if x.shape[1] == 1:
        return x
    if mask is None:
        return x.mean(1, keepdim=True)
    weight = mask.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of [B, S] over examples and real tokens, a scalar; each example counts alike."""
    return pooled(values.unsqueeze(-1), mask).mean()


def token_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of [B, S, D] over all real tokens of the batch, [D]; each token counts alike, S = 1 once per example."""
    if mask is None or values.shape[1] == 1:
        return values.mean((0, 1))
    weight = mask.unsqueeze(-1).to(values.dtype)
    return (values * weight).sum((0, 1)) / weight.sum().clamp_min(1)
