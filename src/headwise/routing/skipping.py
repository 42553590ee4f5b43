"""Leaving out heads that are off: what is computed for which gates, and when that pays.

A head is off where its gate is exactly 0. Three ways to compute the same output:

    dense       every head, weighted by its gate (the plain twin of the other two)
    sequence    heads off for a whole example (or for all: a layer's selection): examples with the same set of heads
                form a group; its projections and its attention are those of its heads alone. Keys and values go with
                the last head that reads them (with grouped queries: only whole groups); `headwise.routing.whole_heads`
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

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headwise.routing.projections import Shape
from headwise.routing.tiles import TILE

Skipping = Literal["auto", "never", "always"]
Form = Literal["dense", "sequence", "token"]
# The rule's constants, in multiply-accumulates.
SEQUENCE_FACTOR, GROUP_PRICE, WEIGHT_PRICE = 1.05, 3e6, 20.0
SCORE_FACTOR, TILE_PRICE, PAIR_PRICE = 2.1, 2e6, 4e4


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


def choose(shape: Shape, skipping: Skipping, gates: Tensor, x: Tensor, past: int | None = None) -> Plan:
    """The form that `skipping` asks for, or by the rule above.

    Args:
        shape: of the layer.
        skipping: its setting.
        gates: [B, L|1, H].
        x: [B, L, D].
        past: M, where keys and values are there already, so that none can be left out; None: those of `x`.
    """
    batch, length, heads = *x.shape[:2], shape.heads
    remembered, keys = past is not None, length if past is None else past
    dense = Plan("dense", torch.full((batch,), float(heads)), float(batch * macs(shape, length, keys, remembered)))
    auto = skipping == "auto"
    trained = gates.requires_grad and torch.is_grad_enabled()
    if skipping == "never" or (auto and (trained or x.device.type != "cpu")):
        return dense
    counts = (gates.detach() != 0).sum(1).expand(batch, -1).cpu()  # [B, H], positions at which a head is on
    used, places = counts > 0, gates.shape[1]
    if bool((counts == places).all()):
        return dense
    plans = []
    if not remembered and (not auto or not bool(used.all())):
        sizes, groups = used.sum(1).double(), shape.read(used).sum(1)
        each = zip(sizes.tolist(), groups.tolist(), strict=True)
        needed = sum(macs(shape, length, keys, False, h, g) for h, g in each)
        sets = torch.unique(used, dim=0)
        gathered = 2 * shape.head_width * shape.width * (sets.sum() + shape.read(sets).sum()).item()
        cost = SEQUENCE_FACTOR * needed + GROUP_PRICE * len(sets) + WEIGHT_PRICE * gathered
        plans.append((cost, Plan("sequence", sizes, needed)))
    if remembered or not bool(((counts == places) | ~used).all()):
        mean = counts.sum(1).double() / places  # [B]
        needed = sum(macs(shape, length, keys, remembered, h) for h in mean.tolist())
        pairs = mean.sum().item() * length
        seen = keys - (length - 1) / 2 if shape.causal else float(keys)
        span = min(TILE / 2 * heads * batch / max(mean.sum().item(), 1), keys / 2) if shape.causal else 0.0
        scores = 2 * pairs * shape.head_width * (SCORE_FACTOR * (seen + span) - seen)
        tiles = pairs / TILE + used.sum().item()
        plans.append((needed + scores + TILE_PRICE * tiles + PAIR_PRICE * pairs, Plan("token", mean, needed)))
    if not auto:
        return plans[-1][1]
    cost, best = min(plans, key=lambda plan: plan[0])
    return best if cost < dense.macs else dense


def macs(
    shape: Shape,
    length: int,
    keys: int,
    remembered: bool = False,
    heads: float | None = None,
    groups: float | None = None,
) -> float:
    """Multiply-accumulates of one example of L queries over M keys with so many of the heads (default: all).

    A causal layer counts the scores it needs, (M - L) + (L + 1) / 2 keys per query.
    """
    heads = shape.heads if heads is None else heads
    groups = shape.kv_heads if groups is None else groups
    seen = keys - (length - 1) / 2 if shape.causal else keys
    block = shape.head_width * shape.width  # one head's part of one projection
    mixture = shape.combination == "mixture"
    output = block * (1 if mixture else heads)
    of_keys = 0 if remembered else 2 * groups * block
    return length * (heads * block + of_keys + 2 * heads * seen * shape.head_width + output)
