"""The feed-forward layer of a block.

    gelu, relu:  W_2 a(W_1 x + b_1) + b_2
    swiglu:      W_2 (silu(W_g x + b_g) * (W_u x + b_u)) + b_2       (arXiv 2002.05202; W_g and W_u one matrix)

Legend: D width, F feed-forward width.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["gelu", "relu", "swiglu"]
PLAIN: dict[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


class SwiGLU(nn.Module):
    """D -> F, twice -> D. Three matrices where the others have two: at F of two thirds they cost as much."""

    def __init__(self, width: int, ffn: int, bias: bool = True) -> None:
        super().__init__()
        self.gate_up, self.down = nn.Linear(width, 2 * ffn, bias), nn.Linear(ffn, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] to the same."""
        gate, up = self.gate_up(x).chunk(2, -1)
        out: Tensor = self.down(F.silu(gate) * up)
        return out


def feed_forward_of(activation: Activation, width: int, ffn: int, bias: bool = True) -> nn.Module:
    """The layer; F is its inner width, whichever activation."""
    if activation == "swiglu":
        return SwiGLU(width, ffn, bias)
    return nn.Sequential(nn.Linear(width, ffn, bias), PLAIN[activation](), nn.Linear(ffn, width, bias))
