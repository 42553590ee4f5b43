"""Leaving out heads that are off: what is computed for which gates, and when that pays.

A head is off where its gate is exactly 0. Three ways to compute the same output:

    dense       every head, weighted by its gate (the plain twin of the other two)
    sequence    heads off for a whole example (or for all: a layer's selection): examples with the same set of heads
                form a group; its projections and its attention are those of its heads alone. Keys and values go with
                the last head that reads them (with grouped queries: only whole groups)
    token       heads off for some tokens: keys and values of all heads; queries, scores and output rows of the
                (token, head) pairs that are on alone (`headwise.routing.tiles`)

**Gradients.** Both skipped forms have exactly the gradients of the dense form in inputs, weights and the gates that are
on. A gate that is off gets none: its gradient is its head's output times the gradient above it, and that output was not
computed. For hard gates (forced, static, random; MoH, ReLU and top-p with their own backward, which is 0 there) nothing
is lost. A straight-through gate trains on just those gradients, so `auto` computes densely wherever gates require a
gradient, and skips at evaluation and with gates that are not trained; `always` skips there too.

**The rule of `auto`.** The cheapest by this model, in multiply-accumulates of one example:

    dense       n (2 d² + 2 g d² + 2 c m d)
    sequence    1.05 · n (2 rho d² + 2 g' d² + 2 c m rho d)               + 3 M for each group of examples,
                                                                         + 20 for each weight that it gathers
    token       n (2 rho d² + 2 g d²) + 1.25 · 2 n rho d (c m + t)        + 2 M for each tile of 64 queries
                                                                         + 40 k for each pair of token and head

with n tokens, m keys, rho the share of heads that are on, g key/value heads over heads, g' of those still read, c = 1/2
if causal, else 1, and t the keys that half a tile spans, 32/rho (0 if not causal). The first numbers are what the form
loses per multiply-accumulate, the last what its pieces cost besides, fitted to `headwise bench heads` on one CPU thread
(d = 512, causal). So from 512 tokens on a selection of whole heads is skipped as soon as one head is off, and
one per token with at most 50-60 % of 8 heads of 64, or 30-50 % of 16 heads of 32 on, the more the longer the sequence;
one token, or a few, run densely. On devices other than the CPU `auto` is dense.

Legend: B batch, L query length, M key length, H heads, G key/value heads, E head width, D = H·E width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from headwise.routing.attention import RoutedAttention

Skipping = Literal["auto", "never", "always"]
Form = Literal["dense", "sequence", "token"]
TILE = 64  # queries of a head that share a stretch of keys
# The rule's constants, in multiply-accumulates.
SEQUENCE_FACTOR, GROUP_PRICE, WEIGHT_PRICE = 1.05, 3e6, 20.0
SCORE_FACTOR, TILE_PRICE, PAIR_PRICE = 1.25, 2e6, 4e4


@dataclass(frozen=True)
class Plan:
    """What an attention layer computes.

    Attributes:
        kind: the form.
        heads_executed: heads computed, [B]: of an example, or the mean over its tokens.
        macs: multiply-accumulates of the whole batch.
    """

    kind: Form
    heads_executed: Tensor
    macs: float


def choose(attention: RoutedAttention, gates: Tensor, x: Tensor, keys: int, remembered: bool) -> Plan:
    """The form that `attention.skipping` asks for, or by the rule above.

    Args:
        attention: its shape, and its setting.
        gates: [B, L|1, H].
        x: [B, L, D].
        keys: M.
        remembered: whether keys and values are there already, so that none can be left out.
    """
    batch, length, heads = *x.shape[:2], attention.heads_count
    dense = Plan("dense", torch.full((batch,), float(heads)), float(batch * macs(attention, length, keys, remembered)))
    auto = attention.skipping == "auto"
    trained = gates.requires_grad and torch.is_grad_enabled()
    if attention.skipping == "never" or (auto and (trained or x.device.type != "cpu")):
        return dense
    counts = (gates.detach() != 0).sum(1).expand(batch, -1).cpu()  # [B, H], positions at which a head is on
    used, places = counts > 0, gates.shape[1]
    if bool((counts == places).all()):
        return dense
    plans = []
    if not remembered and (not auto or not bool(used.all())):
        sizes, groups = used.sum(1).double(), _read(attention, used).sum(1)
        each = zip(sizes.tolist(), groups.tolist(), strict=True)
        needed = sum(macs(attention, length, keys, False, h, g) for h, g in each)
        sets = torch.unique(used, dim=0)
        gathered = 2 * attention.head_width * attention.width * (sets.sum() + _read(attention, sets).sum()).item()
        cost = SEQUENCE_FACTOR * needed + GROUP_PRICE * len(sets) + WEIGHT_PRICE * gathered
        plans.append((cost, Plan("sequence", sizes, needed)))
    if remembered or not bool(((counts == places) | ~used).all()):
        mean = counts.sum(1).double() / places  # [B]
        needed = sum(macs(attention, length, keys, remembered, h) for h in mean.tolist())
        pairs = mean.sum().item() * length
        seen = keys - (length - 1) / 2 if attention.causal else float(keys)
        span = min(TILE / 2 * heads * batch / max(mean.sum().item(), 1), keys / 2) if attention.causal else 0.0
        scores = 2 * pairs * attention.head_width * (SCORE_FACTOR * (seen + span) - seen)
        tiles = pairs / TILE + used.sum().item()
        plans.append((needed + scores + TILE_PRICE * tiles + PAIR_PRICE * pairs, Plan("token", mean, needed)))
    if not auto:
        return plans[-1][1]
    cost, best = min(plans, key=lambda plan: plan[0])
    return best if cost < dense.macs else dense


def macs(
    attention: RoutedAttention,
    length: int,
    keys: int,
    remembered: bool = False,
    heads: float | None = None,
    groups: float | None = None,
) -> float:
    """Multiply-accumulates of one example of L queries over M keys with so many of the heads (default: all).

    A causal layer counts the scores it needs, (M - L) + (L + 1) / 2 keys per query.
    """
    heads = attention.heads_count if heads is None else heads
    groups = attention.kv_heads if groups is None else groups
    seen = keys - (length - 1) / 2 if attention.causal else keys
    block = attention.head_width * attention.width  # one head's part of one projection
    mixture = attention.combination == "mixture"
    output = block * (1 if mixture else heads)
    of_keys = 0 if remembered else 2 * groups * block
    return length * (heads * block + of_keys + 2 * heads * seen * attention.head_width + output)


def skipped(attention: RoutedAttention, x: Tensor, gates: Tensor, mask: Tensor | None) -> Tensor:
    """`RoutedAttention.forward` with, for each example, only the heads that some token of it uses.

    Arguments as there: x [B, L, D], gates [B, L|1, H], mask broadcastable to [B, H, L, L]; returns [B, L, D].
    """
    batch, heads, shared, e = x.shape[0], attention.heads_count, attention.kv_heads, attention.head_width
    gates = gates.expand(batch, -1, -1)
    sets, member = torch.unique((gates.detach() != 0).any(1), dim=0, return_inverse=True)  # [S, H], [B]
    order = member.argsort(stable=True)
    sizes = member.bincount(minlength=len(sets)).tolist()
    several = len(sets) > 1
    if several:
        x, gates = x.index_select(0, order), gates.index_select(0, order)
    chosen = [on.nonzero().flatten() for on in sets]
    read = [on.nonzero().flatten() for on in _read(attention, sets)]
    # All groups' weights in one gather, so that backward fills one gradient and not one for each group.
    blocks = [torch.cat([h, g + heads, g + heads + shared]) for h, g in zip(chosen, read, strict=True)]
    rows, counts = torch.cat(blocks), [len(block) for block in blocks]
    weights = torch.split(attention.projection.view(-1, e, attention.width).index_select(0, rows), counts)
    biases = torch.split(attention.bias().view(-1, e).index_select(0, rows), counts)
    outputs: Sequence[Tensor]
    if attention.combination == "mask_concat":
        columns = attention.output.weight.view(-1, heads, e)  # [D, H, E]
        outputs = torch.split(columns.index_select(1, torch.cat(chosen)), [len(h) for h in chosen], 1)
    else:
        outputs = [attention.output.weight] * len(sets)
    parts = []
    inputs = zip(*(torch.split(part, sizes) for part in (x, gates, order)), strict=True)
    for s, (own, weight, examples) in enumerate(inputs):
        projected = F.linear(own, weights[s].flatten(0, 1), biases[s].flatten())
        size, of_keys = len(chosen[s]), len(read[s])
        queries, keys, values = torch.split(attention.split(projected), [size, of_keys, of_keys], 1)
        if of_keys != size:
            # A group of keys and values for each head, as some groups may have more heads on than others.
            place = torch.searchsorted(read[s], chosen[s] * shared // heads)
            keys, values = keys.index_select(1, place), values.index_select(1, place)
        seen = _of_heads(mask, examples if several else None, chosen[s])
        # Without a head nothing is attended to, and the sums below are empty.
        out = attention.attend(queries, keys, values, seen) if size else queries.transpose(1, 2)  # [b, L, h, E]
        out = out * weight.index_select(2, chosen[s]).unsqueeze(-1).to(out.dtype)
        if attention.combination == "mask_concat":
            parts.append(F.linear(out.flatten(2), outputs[s].flatten(1), attention.output.bias))
        else:
            parts.append(F.linear(out.sum(2) / heads, outputs[s], attention.output.bias))
    return torch.cat(parts).index_select(0, order.argsort()) if several else parts[0]


def _read(attention: RoutedAttention, on: Tensor) -> Tensor:
    """Key/value heads [..., G] that some head of `on` [..., H] reads."""
    return on.view(*on.shape[:-1], attention.kv_heads, -1).any(-1)


def _of_heads(mask: Tensor | None, examples: Tensor | None, heads: Tensor) -> Tensor | None:
    """The part of a mask, broadcastable to [B, H, L, M], that concerns these examples (None: all) and heads."""
    if mask is None:
        return None
    if examples is not None and mask.shape[0] > 1:
        mask = mask.index_select(0, examples)
    return mask.index_select(1, heads) if mask.shape[1] > 1 else mask
