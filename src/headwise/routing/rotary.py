"""Rotary positions (arXiv 2104.09864): queries and keys are turned by their position, so that scores know offsets.

    R_p: (u, v) -> (u cos p w_i - v sin p w_i,  v cos p w_i + u sin p w_i),   w_i = base^(-2i/E),   i = 0 ... E/2 - 1
    (R_p q) . (R_m k) depends on p and m through m - p alone

u is channel i of a head and v channel i + E/2, as in GPT-NeoX, Llama, HRM and TRM (the paper pairs neighbours: the same
up to the order of channels). A position is a token's place in its sequence, padding counted: in front of an example or
behind it, padding changes nothing. Values are not turned.

Legend: B batch, L length, h heads, E head width, P positions.
"""

import torch
from torch import Tensor

BASE = 10000.0
"""The published one."""


def rotate_from(x: Tensor, base: float | None, start: int = 0) -> Tensor:
    """Queries or keys [B, L, h, E] that stand at `start`, start + 1, ...; as they are without a base."""
    return x if base is None else rotate(x, torch.arange(start, start + x.shape[1], device=x.device), base)


def rotate(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """Queries or keys [..., P, h, E] at `positions` [P], in at least fp32: in bf16 neighbours would be alike."""
    precise = torch.promote_types(x.dtype, torch.float32)
    half = x.shape[-1] // 2
    speed = base ** (-torch.arange(half, device=x.device, dtype=precise) / half)  # [E/2]
    angle = positions.to(precise).view(-1, 1, 1) * speed  # [P, 1, E/2]
    cos, sin = angle.cos(), angle.sin()
    u, v = x.to(precise).chunk(2, -1)
    return torch.cat([u * cos - v * sin, v * cos + u * sin], -1).to(x.dtype)
