"""softmax(q k^T / sqrt(E) + mask) v, by torch's fused kernel or written out: where that is faster, or heads are mixed.

A query that may look nowhere, as padding in front of a causal sequence, attends to nothing: its head outputs are 0,
and so are their gradients, whichever way they are computed.

Legend: B batch, L query length, M key length, h heads, g key/value heads, E head width.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    causal: bool,
    dropout: float,
    mixing: Tensor | None = None,
) -> Tensor:
    """Head outputs of every query.

    Args:
        queries: [B, h, L, E], the last L of the M positions.
        keys, values: [B, g, M, E], g a divisor of h.
        mask: broadcastable to [B, h, L, M]: bool, True where a query may look, or float, added to the scores; or None.
        causal: position i sees only j <= i.
        dropout: probability of dropping an attention weight.
        mixing: [B, L, h, h], what each head of a query takes of the attention of each, or None.

    Returns:
        [B, L, h, E].
    """
    length, reach = queries.shape[2], keys.shape[2]
    if causal and (mask is not None or length != reach or mixing is not None):
        causal = False
        if length > 1:  # the last of the positions sees all
            seen = torch.ones(length, reach, dtype=torch.bool, device=queries.device).tril(reach - length)
            if mask is None or not mask.is_floating_point():
                mask = seen if mask is None else mask & seen
            else:
                mask = mask.masked_fill(~seen, -torch.inf)
    if mixing is not None:
        if mask is not None and not mask.is_floating_point():
            mask = torch.zeros_like(mask, dtype=queries.dtype).masked_fill_(~mask, -torch.inf)
        return attend_composed(queries, keys, values, mask, dropout, mixing).transpose(1, 2)
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
    keys, values = _of_each_head(keys, queries), _of_each_head(values, queries)
    blind = bias.detach().amax(-1, keepdim=True) == -torch.inf
    return F.dropout(attention_weights(_scores(queries, keys, bias), blind), dropout) @ values


def attend_composed(
    queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, dropout: float, mixing: Tensor
) -> Tensor:
    """`attend` for heads that lend each other their attention, A'_ij = C_i A_ij: [B, h, L, E].

    `bias` is what is added to the scores, or None; `mixing` is C, [B, L, h, h]. What may look nowhere has nothing to
    lend; that is said in C, which is small, and found without a look at values, which a GPU would have to wait for.
    """
    keys, values = _of_each_head(keys, queries), _of_each_head(values, queries)
    if bias is not None:
        blind = bias.detach().amax(-1, keepdim=True) == -torch.inf
        bias = bias.masked_fill(blind, 0)
        mixing = mixing.masked_fill(blind.expand(*queries.shape[:3], 1).permute(0, 2, 3, 1), 0)
    weights = _scores(queries, keys, bias).softmax(-1).transpose(1, 2)  # [B, L, h, M]
    composed = (mixing.to(weights.dtype) @ weights).transpose(1, 2)  # [B, h, L, M]
    return F.dropout(composed, dropout) @ values


def _of_each_head(shared: Tensor, queries: Tensor) -> Tensor:
    """Keys or values [B, g, M, E] as [B, h, M, E]."""
    groups = queries.shape[1] // shared.shape[1]
    return shared if groups == 1 else shared.repeat_interleave(groups, 1)


def _scores(queries: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    """q k^T / sqrt(E) + bias, [B, h, L, M]."""
    scaled, keys = (queries * queries.shape[-1] ** -0.5).flatten(0, 1), keys.flatten(0, 1)
    shape = (*queries.shape[:3], keys.shape[1])
    scores: Tensor
    if bias is None:
        scores = scaled @ keys.mT
    else:
        scores = torch.baddbmm(bias.expand(shape).flatten(0, 1).to(scaled.dtype), scaled, keys.mT)
    return scores.view(shape)


def attention_weights(scores: Tensor, blind: Tensor) -> Tensor:
    """softmax over the keys of scores [..., L, M], and 0 for queries that are `blind` [..., L, 1]: all scores -inf.

    There softmax is 0/0, in its gradient too. Looking whether there is one is cheap beside the softmax, filling is not.
    """
    if not torch.compiler.is_compiling() and not bool(blind.any()):
        return scores.softmax(-1)
    return scores.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)
