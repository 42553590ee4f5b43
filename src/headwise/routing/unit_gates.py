"""Gates that only choose: exactly 1 if a head is on, exactly 0 if it is off.

    top-k       on_h  where z_h is among the k largest
    threshold   on_h  where z_h >= threshold

For pretrained models, whose distributions every weight other than 1 would shift. Backward as twice the sigmoid of z,
straight-through, so that a head which is off can be called back.

Legend: B batch, L length, H heads, z head logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from headwise.routing.gates import GateFunction, Gates, Sigmoid, largest, straight_through


@dataclass(frozen=True)
class Unit(GateFunction):
    """each head on at exactly 1 or off: the k largest, or those at or above a threshold; straight-through

    Args:
        k: heads that are on; null (default): as many as reach the threshold.
        threshold: least head logit of a head that is on; default 0, so that a router which starts at zero starts with
            every head on.
    """

    k: int | None = None
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"k={self.k}: choose at least 1, or null for the threshold")
        if self.k is not None and self.threshold:
            raise ValueError(f"threshold={self.threshold:g}: has no effect with k={self.k}; choose one of the two")

    @property
    def selects(self) -> bool:  # type: ignore[override]
        return self.k is not None

    @property
    def varies(self) -> bool:  # type: ignore[override]
        return self.k is None

    def __call__(
        self,
        logits: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        training: bool,
        bias: Tensor | None = None,
    ) -> Gates:
        raw = (logits - self.threshold) / temperature
        probs = raw.sigmoid()
        on = raw >= 0 if self.k is None else largest(raw if bias is None else raw + bias, self.k)
        weight = straight_through(on.to(probs.dtype), 2 * probs)
        return Gates(weight, on, probs, expected=probs.sum(-1) if self.k is None else None)

    def validate(self, heads: int) -> None:
        if self.k is not None and self.k > heads:
            raise ValueError(f"k={self.k} but the block has {heads} heads; choose 1..{heads} (arm.gate.k)")

    def describe(self) -> str:
        return f"unit, above {self.threshold:g}" if self.k is None else f"unit top-{self.k}"

    def surrogate(self) -> GateFunction | None:
        """The sigmoid, where the threshold is 0; elsewhere a shifted one, which is no gate function."""
        return Sigmoid() if not self.threshold else None

    @classmethod
    def examples(cls) -> "Sequence[Unit]":
        return [cls(), cls(k=2)]
