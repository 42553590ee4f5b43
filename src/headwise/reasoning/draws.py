"""Random numbers that belong to an example: the same in whatever batch, on whatever number of processes, at any length.

A counter-based generator: the key of an example, the number of the draw and the place of a token say which bits come,
so that nothing has to be drawn in order and no state has to be saved. The bits are those of SplitMix64 (Steele, Lea,
Flood 2014), turned into normal numbers by Box and Muller.

Legend: B batch, L length, D width.
"""

import math

import torch
from torch import Tensor


def keys_of(index: Tensor, *seeds: int | Tensor) -> Tensor:
    """The key of each example, int64, from its index (int64, any shape) in a source and further numbers: the seed of a
    run, and the batch or the restart that it is drawn for, or of each example its own (int64, of that shape)."""
    key = torch.zeros_like(index)
    for seed in seeds:
        key = _mixed(key + (seed if isinstance(seed, Tensor) else _signed(seed)) + _GOLDEN)
    return _mixed(key + index * _GOLDEN)


def uniform(keys: Tensor, draw: int) -> Tensor:
    """Numbers in [0, 1), float64, of the shape of the keys; other ones than `normal` draws."""
    return (_mixed(keys + _signed(2 * draw * _ODD)) >> 11 & (1 << 53) - 1).double() * 2**-53


def normal(keys: Tensor, draw: int | Tensor, places: Tensor, width: int) -> Tensor:
    """Standard normal numbers [B, L, D], float32, on the device of the keys.

    Args:
        keys: int64 [B]; examples with equal keys draw the same numbers.
        draw: which of the draws of an example; int64 [B] where they differ.
        places: int64 [B|1, L], of the tokens in their sequences; a token's numbers depend on its place, not on L.
        width: D.
    """
    pairs = (width + 1) // 2
    counter = (places[..., None] * pairs + torch.arange(1, pairs + 1, device=keys.device)).flatten(1)  # [B|1, L * D/2]
    number = (2 * draw + 1) * _ODD  # of a tensor its last 64 bits
    own = _mixed(keys + (number if isinstance(number, Tensor) else _signed(number)))
    bits = _mixed(own[:, None] + counter * _GOLDEN)  # two numbers in each
    high, low = ((half.float() + 0.5) * 2**-32 for half in (bits >> 32 & _LOW, bits & _LOW))  # in (0, 1]
    radius, angle = (-2 * high.log()).sqrt(), 2 * math.pi * low
    both = torch.stack([radius * angle.cos(), radius * angle.sin()], -1)  # [B, L * D/2, 2]
    return both.view(keys.shape[0], -1, 2 * pairs)[..., :width]


def places_of(padding: Tensor | None, like: Tensor) -> Tensor:
    """The place of each token of `like` [B, L, D] in its sequence, int64 [B|1, L], from 0; padding does not count.

    Args:
        padding: bool [B, L], True for real tokens, or None.
    """
    if padding is None:
        return torch.arange(like.shape[1], device=like.device)[None]
    return (padding.long().cumsum(1) - 1).clamp_min(0)


def _mixed(bits: Tensor) -> Tensor:
    """SplitMix64's finaliser: every bit of the result depends on every bit of int64 `bits`."""
    bits = (bits ^ (bits >> 30 & (1 << 34) - 1)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> 27 & (1 << 37) - 1)) * _signed(0x94D049BB133111EB)
    return bits ^ (bits >> 31 & (1 << 33) - 1)


def _signed(number: int) -> int:
    """The whole number with the same 64 bits that int64 can hold."""
    return (number + 2**63) % 2**64 - 2**63


_GOLDEN, _ODD, _LOW = _signed(0x9E3779B97F4A7C15), 0x632BE59BD9B4E019, 0xFFFFFFFF
