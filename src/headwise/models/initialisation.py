"""Weights as HRM and TRM draw them: truncated normal, with a standard deviation of 1/sqrt(fan in) (LeCun), biases zero.

torch's `trunc_normal_` cuts at two standard deviations and so ends with 0.88 of the one asked for; JAX, and with it HRM
and TRM, asks for so much more beforehand.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from headwise.routing.attention import RoutedAttention

Init = Literal["default", "truncated_normal"]
CUT = 2.0
REMAINS = math.sqrt(1 - 2 * CUT * math.exp(-(CUT**2) / 2) / math.sqrt(2 * math.pi) / math.erf(CUT / math.sqrt(2)))
"""Standard deviation of a standard normal cut at two, 0.880."""


def truncated_normal_(weight: Tensor) -> None:
    """Draw a matrix [out, in] in place."""
    std = weight.shape[1] ** -0.5 / REMAINS
    nn.init.trunc_normal_(weight, 0.0, std, -CUT * std, CUT * std)


@torch.no_grad()
def draw_truncated_normal(attention: RoutedAttention, feed_forward: nn.Module | None) -> None:
    """Draw an attention's projections and a feed-forward layer's matrices; what starts at zero stays there."""
    truncated_normal_(attention.projection)
    for linear in [attention.output, *([] if feed_forward is None else feed_forward.modules())]:
        if isinstance(linear, nn.Linear):
            truncated_normal_(linear.weight)
            if linear.bias is not None:
                linear.bias.zero_()
