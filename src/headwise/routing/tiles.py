"""Attention of the (token, head) pairs that are on, over keys and values of all tokens.

The queries of a head, in order of their position, are taken in tiles of 64; a causal tile looks at the keys up to its
last query. A causal mask over all keys would make attention compute the half that plain causal attention leaves out,
and so eat the gain.

Legend: B batch, L query length, M key length, H heads, G key/value heads, E head width, D = H·E width, P pairs.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from headwise.routing.output_gates import channel_gates
from headwise.routing.projections import Projections
from headwise.routing.rotary import rotate
from headwise.routing.scaled_dot_product import attention_weights

TILE = 64  # queries of a head that share a stretch of keys


def attend_pairs(
    layer: Projections, x: Tensor, gates: Tensor, mask: Tensor | None, memory: tuple[Tensor, Tensor]
) -> Tensor:
    """Attention with queries, scores and output rows of the pairs that are on alone.

    Args:
        layer: the weights.
        x: [B, L, D].
        gates: [B, L|1, H].
        mask: bool, broadcastable to [B, H, L, M], True where a query may look, or float, added to the scores.
        memory: keys, turned where positions are rotary, and values [B, G, M, E]; queries are the last L of the M
            positions.

    Returns:
        [B, L, D].
    """
    (batch, length, width), shape = x.shape, layer.shape
    heads, e = shape.heads, shape.head_width
    gates = gates.expand(batch, length, heads)
    per_head, past = heads // shape.kv_heads, memory[0].shape[2] - length
    pairs = (gates.detach() != 0).permute(2, 0, 1).reshape(heads, -1).nonzero()  # [P, 2], sorted: head, example, place
    tokens = pairs[:, 1]
    counts = (gates.detach() != 0).sum(1).t().tolist()  # [H][B]
    of_head = [sum(row) for row in counts]
    weights = torch.split(gates.reshape(-1, heads)[tokens, pairs[:, 0]].unsqueeze(-1), of_head)
    rows, flat = torch.split(tokens, of_head), x.reshape(-1, width)
    # With gradients one gather, whose backward fills one gradient; without, a head's rows when they are needed: cached.
    together = torch.is_grad_enabled() and x.requires_grad
    inputs = torch.split(flat.index_select(0, tokens), of_head) if together else None
    query_weights = layer.weight[:width].view(heads, e, width).unbind(0)
    query_biases = [None] * heads if layer.bias is None else layer.bias[:width].view(heads, e).unbind(0)
    keys, values = (part.flatten(0, 1).unbind(0) for part in memory)  # B·G of [M, E]
    concat = shape.combination == "mask_concat"
    of_channels = None if layer.gate_weight is None else layer.gate_weight.view(heads, e, width).unbind(0)
    columns = layer.output_weight.view(width, heads, e).unbind(1) if concat else ()
    if concat and layer.output_bias is not None:
        merged = layer.output_bias.expand(len(flat), -1).clone()
    else:
        merged = x.new_zeros(len(flat), width if concat else e)
    for h in range(heads):
        if not of_head[h]:
            continue
        own = flat.index_select(0, rows[h]) if inputs is None else inputs[h]
        queries = F.linear(own, query_weights[h], query_biases[h]) * e**-0.5
        at = rows[h] % length + past
        if shape.rotary is not None:
            queries = rotate(queries.unsqueeze(1), at, shape.rotary).squeeze(1)
        parts, places = (torch.split(part, counts[h]) for part in (queries, at))
        attended = []
        for b in range(batch):
            if not counts[h][b]:
                continue
            group = b * shape.kv_heads + h // per_head
            visible = None if mask is None else mask.expand(batch, heads, -1, -1)[b, h]
            attended += _attend(layer, parts[b], places[b], (keys[group], values[group]), visible)
        out = torch.cat(attended) * weights[h].to(queries.dtype)  # [P_h, E]
        if of_channels is not None:
            out = out * channel_gates(own, of_channels[h])
        merged = merged.index_add_(0, rows[h], (F.linear(out, columns[h]) if concat else out).to(merged.dtype))
    if concat:
        return merged.view(batch, length, width)
    out = F.linear(merged / heads, layer.output_weight, layer.output_bias)
    return out.view(batch, length, width)


def _attend(
    layer: Projections, queries: Tensor, places: Tensor, memory: tuple[Tensor, Tensor], mask: Tensor | None
) -> list[Tensor]:
    """Outputs [n, E] in tiles of one head's scaled queries [n, E], at `places` [n] among the M keys of one example.

    `mask` is [L|1, M] or None.
    """
    keys, values = memory
    length = len(keys)
    ends = places.tolist() if layer.shape.causal else []
    out = []
    for start in range(0, len(queries), TILE):
        tile, own = queries[start : start + TILE], places[start : start + TILE]
        first, end = 0, length
        if layer.shape.causal:
            first, end = ends[start] + 1, ends[min(start + TILE, len(ends)) - 1] + 1
        scores = tile @ keys[:end].t()  # [tile, end]
        if first < end and layer.shape.causal:
            later = torch.arange(first, end, device=own.device) > own.unsqueeze(1)
            scores[:, first:].masked_fill_(later, -torch.inf)
        if mask is not None:
            visible = (mask if len(mask) == 1 else mask.index_select(0, own - length + len(mask)))[:, :end]
            scores = scores.masked_fill(~visible, -torch.inf) if visible.dtype == torch.bool else scores + visible
            shares = attention_weights(scores, scores.detach().amax(-1, keepdim=True) == -torch.inf)
        else:  # every query sees itself
            shares = scores.softmax(-1)
        if layer.dropout:
            shares = F.dropout(shares, layer.dropout)
        out.append(shares @ values[:end])
    return out
