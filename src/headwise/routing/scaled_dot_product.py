"""softmax(q k^T / sqrt(E) + mask) v, by torch's fused kernel or written out where that is faster.

A query that may look nowhere, as padding in front of a causal sequence, attends to nothing: its head outputs are 0,
and so are their gradients, whichever way they are computed.

Legend: B batch, L query length, M key length, h heads, g key/value heads, E head width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, dropout: float) -> Tensor:
    """Head outputs of every query.

    Args:
        queries: [B, h, L, E], the last L of the M positions.
        keys, values: [B, g, M, E], g a divisor of h.
        mask: broadcastable to [B, h, L, M]: bool, True where a query may look, or float, added to the scores; or None.
        causal: position i sees only j <= i.
        dropout: probability of dropping an attention weight.

    Returns:
        [B, L, h, E].
    """
    length, reach = queries.shape[2], keys.shape[2]
    if causal and (mask is not None or length != reach):
        causal = False
        if length > 1:  # the last of the positions sees all
            seen = torch.ones(length, reach, dtype=torch.bool, device=queries.device).tril(reach - length)
            if mask is None or not mask.is_floating_point():
                mask = seen if mask is None else mask & seen
            else:
                mask = mask.masked_fill(~seen, -torch.inf)
    grouped = keys.shape[1] != queries.shape[1]
    if mask is not None and mask.is_floating_point():
        learned = mask.requires_grad and torch.is_grad_enabled()
        if learned and queries.device.type == "cpu":
            return attend_with_bias(queries, keys, values, mask, dropout).transpose(1, 2)
        # In steps without gradient too the fused kernel goes by what the mask requires.
        mask = (mask if learned else mask.detach()).to(queries.dtype)
    out = F.scaled_dot_product_attention(queries, keys, values, mask, dropout, is_causal=causal, enable_gqa=grouped)
    return out.transpose(1, 2)


def attend_with_bias(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, dropout: float) -> Tensor:
    """`attend` for a bias that is learned: [B, h, L, E].

    torch's fused kernel for the CPU gives no gradient to a bias, and what it falls back to is slower than this. For
    backward the weights are kept, [B, h, L, M].
    """
    groups = queries.shape[1] // keys.shape[1]
    if groups > 1:
        keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
    shape = (*queries.shape[:3], keys.shape[2])
    scaled = (queries * queries.shape[-1] ** -0.5).flatten(0, 1)
    scores = torch.baddbmm(bias.expand(shape).flatten(0, 1).to(scaled.dtype), scaled, keys.flatten(0, 1).mT)
    blind = bias.detach().amax(-1, keepdim=True) == -torch.inf
    return F.dropout(attention_weights(scores.view(shape), blind), dropout) @ values


def attention_weights(scores: Tensor, blind: Tensor) -> Tensor:
    """softmax over the keys of scores [..., L, M], and 0 for queries that are `blind` [..., L, 1]: all scores -inf.

    There softmax is 0/0, in its gradient too. Looking whether there is one is cheap beside the softmax, filling is not.
    """
    if not torch.compiler.is_compiling() and not bool(blind.any()):
        return scores.softmax(-1)
    return scores.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)
