"""Cross-entropy of classes, under the softmax or under what recursive reasoners put in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

LossKind = Literal["softmax", "stablemax"]
"""`softmax`: p_i = exp(x_i) / sum_j exp(x_j); `stablemax`: p_i = s(x_i) / sum_j s(x_j), s as in `log_stablemax`."""


def cross_entropy(logits: Tensor, target: Tensor, kind: LossKind = "softmax") -> Tensor:
    """-log p of the right class, in nats, not summed over anything.

    It is computed in single precision at least; double stays double.

    Args:
        logits: x, [..., C] of C classes.
        target: the right class, int64 [...].
        kind: how logits become probabilities.

    Returns:
        [...].
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return -KINDS[kind](logits).gather(-1, target[..., None])[..., 0]


def log_softmax(logits: Tensor) -> Tensor:
    """log p of every class, [..., C]."""
    return logits.log_softmax(-1)


def log_stablemax(logits: Tensor) -> Tensor:
    """log p of every class, [..., C], with s(x) = x + 1 for x >= 0 and 1 / (1 - x) for x < 0 in place of exp.

    It grows in a line where exp explodes, so that a logit that is right already gets smaller steps, not a rounding
    error (Prieto et al. 2025, arXiv 2501.04697; TRM and HRM train with it). log s is log(1 + x) and -log(1 - x), so
    nothing overflows. Differs from the original code: in logarithms throughout, where that adds 1e-30 to denominators
    and needs double precision.
    """
    # Each branch sees its own half of the line: the other half is out of the logarithm's range. At 0, where a read-out
    # may start, the slope is 1 from either side; sign(x) log(1 + |x|) would have none there.
    log_s = torch.where(logits >= 0, logits.clamp_min(0).log1p(), -(-logits.clamp_max(0)).log1p())
    return log_s.log_softmax(-1)


KINDS: dict[str, Callable[[Tensor], Tensor]] = {"softmax": log_softmax, "stablemax": log_stablemax}
