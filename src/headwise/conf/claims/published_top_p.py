"""The soft top-p gate as it was published, for the claim that it opens the best heads."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import headwise


@headwise.GATES.register("published_top_p")
@dataclass(frozen=True)
class PublishedTopP(headwise.GateFunction):
    """p * sigmoid((cumulative - threshold) * temperature), over p in falling order, times the number of heads"""

    threshold: float = 0.55
    sharpness: float = 5.5
    softmax: ClassVar[bool] = True

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> headwise.Gates:
        p = (logits / temperature).softmax(-1)
        falling, order = p.sort(-1, descending=True)
        cumulative = torch.zeros_like(p).scatter(-1, order, falling.cumsum(-1))
        weight = p.shape[-1] * p * ((cumulative - self.threshold) * self.sharpness).sigmoid()
        return headwise.Gates(weight, torch.ones_like(weight, dtype=torch.bool), p)
