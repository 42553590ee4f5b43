"""Elementwise output gates: every channel of every head output times a gate of its own, read from the layer's input.

    g_i = 2·sigmoid(W x_i)        head outputs of token i: g_i * [heads_1 ; ... ; heads_H]

the elementwise gate G1 of gated attention (arXiv 2505.06708), with x the layer's normed input. They stand beside the
gates of a router, one for each head: a head that is off has no channels to gate, and its rows of W are skipped with it.

Differs from the paper: twice the sigmoid and W zero at the start, so that training starts as plain attention; there
it is the sigmoid itself, which starts near 1/2.

Legend: B batch, L length, H heads, E head width, D = H·E width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def channel_gates(x: Tensor, weight: Tensor) -> Tensor:
    """Gates [..., n] of tokens [..., D], for the n channels whose rows of W are `weight` [n, D]."""
    return 2 * F.linear(x, weight).sigmoid()


class OutputGate(nn.Module):
    """Gates of all channels.

    Args:
        heads: H.
        width: D.
    """

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Parameter(torch.zeros(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, D] to [B, L, H, E]."""
        return channel_gates(x, self.weight).view(*x.shape[:2], self.heads, -1)
