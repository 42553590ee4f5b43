"""Cross-entropy of a choice among digits, with a softmax or with a stablemax. Legend: N digits."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def stablemax(scores: Tensor) -> Tensor:
    """Logarithms of p_i = s(x_i) / sum_j s(x_j), with s(x) = x + 1 for x >= 0 and 1 / (1 - x) below; [..., N].

    As a softmax, but s grows linearly, so that nothing overflows and large scores keep a gradient (arXiv 2501.04697).
    """
    s = torch.where(scores >= 0, scores.clamp_min(0) + 1, 1 / (1 - scores.clamp_max(0)))
    return s.log() - s.sum(-1, keepdim=True).log()


def cross_entropy(scores: Tensor, target: Tensor, kind: Literal["softmax", "stablemax"]) -> Tensor:
    """Nats of the target under the scores, [...] from [..., N] and int64 [...].

    A stablemax is taken in double precision, as Tiny Recursive Models do, a softmax at least in single.
    """
    if kind == "stablemax":
        of_target = stablemax(scores.double()).gather(-1, target[..., None])[..., 0]
        return -of_target.to(torch.promote_types(scores.dtype, torch.float32))
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return F.cross_entropy(precise.flatten(0, -2), target.flatten(), reduction="none").view_as(target)
