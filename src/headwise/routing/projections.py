"""An attention layer as plain data: its shape, and its weights for one forward pass.

What computes heads (`headwise.routing.whole_heads`, `headwise.routing.tiles`) and what decides which of them are
computed (`headwise.routing.skipping`) take these, and know nothing of the module that owns them.

Legend: H heads, G key/value heads, E head width, D = H·E width.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Combination = Literal["mask_concat", "mixture"]


@dataclass(frozen=True)
class Shape:
    """The sizes of an attention layer; see `headwise.routing.attention.RoutedAttention`.

    Attributes:
        width: D. heads: H. kv_heads: G.
        combination: how head outputs become one.
        causal: position i sees only j <= i.
        output_gate: every channel has a gate of its own (`headwise.routing.output_gates`).
        rank: R at which heads are composed (`headwise.routing.composition`); 0: each attends by itself.
        rotary: base of rotary positions (`headwise.routing.rotary`); None: there are none.
    """

    width: int
    heads: int
    kv_heads: int
    combination: Combination
    causal: bool
    output_gate: bool = False
    rank: int = 0
    rotary: float | None = None

    @property
    def head_width(self) -> int:
        """E."""
        return self.width // self.heads

    def read(self, on: Tensor) -> Tensor:
        """Key/value heads [..., G] that some head of `on` [..., H] reads."""
        return on.view(*on.shape[:-1], self.kv_heads, -1).any(-1)


@dataclass(frozen=True)
class Projections:
    """The weights of an attention layer.

    Attributes:
        shape: of the layer.
        weight: [(H + 2G)·E, D], rows of queries, keys and values; bias: one number for each row, or None.
        output_weight: [D, D], or [D, E] of a mixture; output_bias: [D], or None.
        dropout: probability of dropping an attention weight in this pass, 0 at evaluation.
        gate_weight: [D, D], a row for each gate of a channel, or None.
    """

    shape: Shape
    weight: Tensor
    bias: Tensor | None
    output_weight: Tensor
    output_bias: Tensor | None
    dropout: float
    gate_weight: Tensor | None = None
