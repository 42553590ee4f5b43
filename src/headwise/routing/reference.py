"""Plain twins: the slow form of each fast path in this package, written like its equation, for tests to compare with.

Legend: B batch, L query length, M key length, H heads, G key/value heads, E head width, D width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from headwise.routing.attention import RoutedAttention


def plain_attention(
    attention: RoutedAttention, x: Tensor, gates: Tensor, mask: Tensor | None = None, source: Tensor | None = None
) -> Tensor:
    """`RoutedAttention.forward` head by head, with explicit scores; composed heads token by token.

    Args:
        attention: supplies the weights.
        x: [B, L, D], what queries are made of.
        gates: [B, L|1, H].
        mask: bool, broadcastable to [B, H, L, M], True where a query may look, or float, added to the scores.
        source: [B, M, D], what keys and values are made of; default `x`.

    Returns:
        [B, L, D].
    """
    source = x if source is None else source
    shape, width, e = attention.shape, attention.width, attention.shape.head_width
    shared = shape.kv_heads * e
    w_query, w_key, w_value = torch.split(attention.projection, [width, shared, shared])
    queries = x @ w_query.T
    keys = source @ w_key.T
    values = source @ w_value.T
    if attention.query_bias is not None and attention.value_bias is not None:
        queries, values = queries + attention.query_bias, values + attention.value_bias
    if shape.rotary is not None:
        queries = plain_rotation(queries, e, shape.rotary, source.shape[1] - x.shape[1])
        keys = plain_rotation(keys, e, shape.rotary)
    composed = plain_composition(attention, x, gates)  # [B, L, H, H]
    parts, attended = [], []
    for h in range(shape.heads):
        group = h * shape.kv_heads // shape.heads
        of_h, of_group = slice(h * e, (h + 1) * e), slice(group * e, (group + 1) * e)
        scores = queries[..., of_h] @ keys[..., of_group].transpose(1, 2) / e**0.5  # [B, L, M]
        if shape.causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        if mask is not None:
            visible = mask.expand(x.shape[0], shape.heads, *scores.shape[1:])[:, h]
            scores = scores.masked_fill(~visible, -torch.inf) if visible.dtype == torch.bool else scores + visible
        blind = (scores == -torch.inf).all(-1, keepdim=True)  # a query that may look nowhere: its heads are 0
        attended.append(scores.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0))
    for h in range(shape.heads):
        group = h * shape.kv_heads // shape.heads
        of_h, of_group = slice(h * e, (h + 1) * e), slice(group * e, (group + 1) * e)
        weights = sum(composed[..., h, g, None] * attended[g] for g in range(shape.heads))
        out = gates[..., h : h + 1] * (weights @ values[..., of_group])  # [B, L, E]
        if attention.output_gate is not None:
            out = out * 2 / (1 + torch.exp(-x @ attention.output_gate.weight[of_h].T))
        parts.append(out)
    merged = torch.cat(parts, -1) if shape.combination == "mask_concat" else torch.stack(parts).mean(0)
    out = merged @ attention.output.weight.T
    return out if attention.output.bias is None else out + attention.output.bias


def plain_rotation(x: Tensor, e: int, base: float, start: int = 0) -> Tensor:
    """Rotary positions of heads [B, L, h·E] from `start` on: channels i and i + E/2 as one complex number, turned."""
    u, v = x.view(*x.shape[:2], -1, 2, e // 2).unbind(-2)  # [B, L, h, E/2]
    speed = torch.tensor([base ** (-2 * i / e) for i in range(e // 2)], dtype=x.dtype)
    angle = torch.arange(start, start + x.shape[1])[:, None, None] * speed  # [L, 1, E/2]
    turned = torch.complex(u, v) * torch.polar(torch.ones_like(angle), angle)
    return torch.stack([turned.real, turned.imag], -2).flatten(2)


def plain_composition(attention: RoutedAttention, x: Tensor, gates: Tensor) -> Tensor:
    """C [B, L, H, H] of `headwise.routing.composition` token by token; I where heads are not composed."""
    composition, heads = attention.composition, attention.shape.heads
    eye = torch.eye(heads, dtype=x.dtype)
    if composition is None:
        return eye.expand(*x.shape[:2], heads, heads)
    rank, rows = composition.rank, []
    first, second = torch.split(composition.second.weight, rank * heads)  # V1, V2
    for token, on in zip(x.flatten(0, 1), gates.expand(*x.shape[:2], heads).flatten(0, 1) != 0, strict=True):
        hidden = F.gelu(composition.first.weight @ token)
        w1, w2 = (first @ hidden).view(rank, heads), (second @ hidden).view(rank, heads)
        w1 = w1 / (w1.square().mean(1, keepdim=True) + 1e-6).sqrt()
        lent = w2.T @ w1
        lent = torch.where(on | eye.bool(), lent, 0.0)  # column g: what head g lends
        rows.append(eye + lent + torch.diag(torch.tanh(composition.own.weight @ token)))
    return torch.stack(rows).view(*x.shape[:2], heads, heads)
