"""Gate functions: head logits to gates.

Legend: B batch, L length (1 where all tokens share their gates), H heads.

At equal logits every active gate is 1 and the scale never depends on which heads are active, so a router that starts at
zero starts as plain attention. A gate function is a frozen dataclass (its fields are its configuration) that is called
with logits; it holds no state and no parameters.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gates:
    """Head weights of one layer at one refinement step.

    Attributes:
        weight: [B, L|1, H], multiplies the head outputs; exactly 0 where a head is off.
        active: [B, L|1, H] bool, the heads that are on.
        probs: [B, L|1, H], the distribution or probabilities before any selection, for entropy and diagnostics.
    """

    weight: Tensor
    active: Tensor
    probs: Tensor

    def rows(self, index: Tensor) -> "Gates":
        """The gates of the examples in `index`."""
        return Gates(self.weight[index], self.active[index], self.probs[index])

    def detach(self) -> "Gates":
        return Gates(self.weight.detach(), self.active, self.probs.detach())


class GateFunction(Protocol):
    """What a gate function offers; `softmax` says whether `probs` is a distribution over heads."""

    softmax: ClassVar[bool]

    def __call__(
        self, logits: Tensor, temperature: Tensor, generator: torch.Generator | None, training: bool
    ) -> Gates: ...

    def validate(self, heads: int) -> None:
        """Raise a ValueError when the settings do not fit a layer of so many heads."""


@dataclass(frozen=True)
class Soft:
    """all heads on, weighted H·softmax(z)"""

    softmax: ClassVar[bool] = True

    def __call__(self, logits: Tensor, temperature: Tensor, generator: torch.Generator | None, training: bool) -> Gates:
        probs = (logits / temperature).softmax(-1)
        weight = probs * logits.shape[-1]
        return Gates(weight, torch.ones_like(weight, dtype=torch.bool), probs)

    def validate(self, heads: int) -> None:
        """Fits any number of heads."""


@dataclass(frozen=True)
class TopK:
    """the k largest heads on, weighted H·softmax(z); straight-through: backward as if all were on

    Args:
        k: heads that are on; default 2, the value of the pointer-over-heads parser.
        renormalise: scale the gates of the chosen heads to mean 1 (default no: a confident router may weigh more).
    """

    k: int = 2
    renormalise: bool = False
    softmax: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k}: choose at least 1")

    def __call__(self, logits: Tensor, temperature: Tensor, generator: torch.Generator | None, training: bool) -> Gates:
        return self.select(logits / temperature)

    def select(self, scores: Tensor) -> Gates:
        """The k best of temperature-scaled (and, for Gumbel, noisy) scores [B, L|1, H]."""
        heads = scores.shape[-1]
        probs = scores.softmax(-1)
        chosen = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, scores.topk(self.k, -1).indices, True)
        soft = probs * heads
        hard = soft * chosen
        if self.renormalise:
            hard = hard * (self.k / hard.sum(-1, keepdim=True))
        return Gates(straight_through(hard, soft), chosen, probs)

    def validate(self, heads: int) -> None:
        if self.k > heads:
            raise ValueError(f"top_k={self.k} but the block has {heads} heads; choose 1..{heads} (arm.gate.k)")


@dataclass(frozen=True)
class Gumbel(TopK):
    """top-k of the logits plus Gumbel noise in training, without noise at evaluation; straight-through"""

    def __call__(self, logits: Tensor, temperature: Tensor, generator: torch.Generator | None, training: bool) -> Gates:
        if training:
            uniform = torch.empty_like(logits).uniform_(generator=generator)
            tiny = torch.finfo(logits.dtype).tiny
            logits = logits - (-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()
        return self.select(logits / temperature)


@dataclass(frozen=True)
class Sigmoid:
    """each head on its own: 2·sigmoid(z) (head-wise gated attention, arXiv 2505.06708)"""

    softmax: ClassVar[bool] = False

    def __call__(self, logits: Tensor, temperature: Tensor, generator: torch.Generator | None, training: bool) -> Gates:
        probs = (logits / temperature).sigmoid()
        return Gates(2 * probs, torch.ones_like(probs, dtype=torch.bool), probs)

    def validate(self, heads: int) -> None:
        """Fits any number of heads."""


GATES: dict[str, type] = {"soft": Soft, "top_k": TopK, "gumbel": Gumbel, "sigmoid": Sigmoid}


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Forward `hard`, backward the gradient of `soft`, so that heads that are off still teach the router.

    Where `hard` is 0 the result is exactly 0: soft - soft cancels in floating point.
    """
    return soft + (hard - soft).detach()
