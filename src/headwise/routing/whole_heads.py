"""Attention of whole heads: examples with the same set of heads form a group, computed with the weights of its heads.

Legend: B batch, L length, H heads, G key/value heads, E head width, D = H·E width, S different sets of heads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from headwise.routing.output_gates import channel_gates
from headwise.routing.projections import Projections
from headwise.routing.rotary import rotate_from
from headwise.routing.scaled_dot_product import attend


def attend_whole_heads(
    layer: Projections, x: Tensor, gates: Tensor, mask: Tensor | None, mixing: Tensor | None = None
) -> Tensor:
    """Attention with, for each example, only the heads that some token of it uses.

    Args:
        layer: the weights.
        x: [B, L, D].
        gates: [B, L|1, H].
        mask: broadcastable to [B, H, L, L]: bool, True where a query may look, or float, added to the scores; or None.
        mixing: [B, L, H, H], what each head of a query takes of the attention of each, nothing of those that are off;
            or None.

    Returns:
        [B, L, D].
    """
    shape, batch = layer.shape, x.shape[0]
    heads, shared, e = shape.heads, shape.kv_heads, shape.head_width
    gates = gates.expand(batch, -1, -1)
    if mixing is not None:
        # A head may be off for some tokens of an example alone. It is computed, and its gate there gets no gradient, as
        # where it is off for all of them and is not.
        gates = gates.masked_fill(gates.detach() == 0, 0)
    sets, member = torch.unique((gates.detach() != 0).any(1), dim=0, return_inverse=True)  # [S, H], [B]
    order = member.argsort(stable=True)
    sizes = member.bincount(minlength=len(sets)).tolist()
    several = len(sets) > 1
    if several:
        x, gates = x.index_select(0, order), gates.index_select(0, order)
    chosen = [on.nonzero().flatten() for on in sets]
    read = [on.nonzero().flatten() for on in shape.read(sets)]
    # All groups' weights in one gather, so that backward fills one gradient and not one for each group.
    blocks = [torch.cat([h, g + heads, g + heads + shared]) for h, g in zip(chosen, read, strict=True)]
    rows, counts = torch.cat(blocks), [len(block) for block in blocks]
    weights = torch.split(layer.weight.view(-1, e, shape.width).index_select(0, rows), counts)
    biases: Sequence[Tensor | None] = [None] * len(sets)
    if layer.bias is not None:
        biases = [part.flatten() for part in torch.split(layer.bias.view(-1, e).index_select(0, rows), counts)]
    outputs: Sequence[Tensor]
    if shape.combination == "mask_concat":
        columns = layer.output_weight.view(-1, heads, e)  # [D, H, E]
        outputs = torch.split(columns.index_select(1, torch.cat(chosen)), [len(h) for h in chosen], 1)
    else:
        outputs = [layer.output_weight] * len(sets)
    parts = []
    inputs = zip(*(torch.split(part, sizes) for part in (x, gates, order)), strict=True)
    for s, (own, weight, examples) in enumerate(inputs):
        projected = F.linear(own, weights[s].flatten(0, 1), biases[s])
        size, of_keys = len(chosen[s]), len(read[s])
        projected = projected.view(*own.shape[:2], -1, e)
        if shape.rotary is not None:
            turned, values = torch.split(projected, [size + of_keys, of_keys], 2)
            projected = torch.cat([rotate_from(turned, shape.rotary), values], 2)
        queries, keys, values = torch.split(projected.transpose(1, 2), [size, of_keys, of_keys], 1)
        if of_keys != size:
            # A group of keys and values for each head, as some groups may have more heads on than others.
            place = torch.searchsorted(read[s], chosen[s] * shared // heads)
            keys, values = keys.index_select(1, place), values.index_select(1, place)
        group = examples if several else None
        seen = _of_heads(mask, group, chosen[s])
        out = queries.transpose(1, 2)  # [b, L, h, E]
        if size:  # without a head nothing is attended to, and the sums below are empty
            mixed = None if mixing is None else _among_heads(mixing, group, chosen[s])
            out = attend(queries, keys, values, seen, shape.causal, layer.dropout, mixed)
        if layer.gate_weight is not None:
            rows_of_gates = layer.gate_weight.view(heads, e, -1).index_select(0, chosen[s]).flatten(0, 1)
            out = out * channel_gates(own, rows_of_gates).view_as(out)
        out = out * weight.index_select(2, chosen[s]).unsqueeze(-1).to(out.dtype)
        if shape.combination == "mask_concat":
            parts.append(F.linear(out.flatten(2), outputs[s].flatten(1), layer.output_bias))
        else:
            parts.append(F.linear(out.sum(2) / heads, outputs[s], layer.output_bias))
    return torch.cat(parts).index_select(0, order.argsort()) if several else parts[0]


def _of_heads(mask: Tensor | None, examples: Tensor | None, heads: Tensor) -> Tensor | None:
    """The part of a mask, broadcastable to [B, H, L, M], that concerns these examples (None: all) and heads."""
    if mask is None:
        return None
    if examples is not None and mask.shape[0] > 1:
        mask = mask.index_select(0, examples)
    return mask.index_select(1, heads) if mask.shape[1] > 1 else mask


def _among_heads(mixing: Tensor, examples: Tensor | None, heads: Tensor) -> Tensor:
    """What these heads [h] take of each other, in these examples (None: all): [b, L, h, h]."""
    mixing = mixing if examples is None else mixing.index_select(0, examples)
    return mixing.index_select(-2, heads).index_select(-1, heads)
