"""The norms of a block.

layer          LN(x) = (x - mean) / sqrt(variance + eps) · weight + bias
rms            RMS(x) = x / sqrt(mean(x^2) + eps) · weight      (arXiv 1910.07467; no mean to subtract, no bias)
rms_unscaled   the same without a weight, as HRM and TRM have it behind each half of a block
"""

from typing import Literal

from torch import nn

Norm = Literal["layer", "rms", "rms_unscaled"]
NormPlacement = Literal["pre", "post"]
EPS = 1e-5
"""torch's for layers, HRM's and TRM's for rms."""


def norm_of(kind: Norm, width: int, bias: bool = True) -> nn.Module:
    """A norm over D channels; `bias` is a layer norm's alone."""
    if kind == "layer":
        return nn.LayerNorm(width, EPS, bias=bias)
    return nn.RMSNorm(width, EPS, elementwise_affine=kind == "rms")
