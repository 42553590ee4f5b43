"""Leaving out heads that are off: what is computed for which gates, and when that pays.

A head is off where its gate is exactly 0. Three ways to compute the same output:

    dense       every head, weighted by its gate (the plain twin of the other two)
    sequence    heads off for a whole example (or for all: a layer's selection): examples with the same set of heads
                form a group; its projections and its attention are those of its heads alone. Keys and values go with
                the last head that reads them, with grouped queries only whole groups (`headwise.routing.whole_heads`)
    token       heads off for some tokens: keys and values of all heads; queries, scores and output rows of the
                (token, head) pairs that are on alone (`headwise.routing.tiles`); not of composed heads, which need
                the attention of a token's other heads

**Gradients.** Both skipped forms have exactly the gradients of the dense form in inputs, weights and the gates that are
on. A gate that is off gets none: its gradient is its head's output times the gradient above it, and that output was not
computed. For hard gates (forced, static, random; MoH, ReLU and top-p with their own backward, which is 0 there) nothing
is lost. A straight-through gate trains on just those gradients, so `auto` computes densely wherever gates require a
gradient, and skips at evaluation and with gates that are not trained; `always` skips there too.

**The rule of `auto`.** The cheapest by this model, in multiply-accumulates of the batch, and dense without a look at
the gates for a layer so small that the look would be 2 % of its time:

    dense       n (2 d² + 2 g d² + 2 c m d)
    sequence    1.05 · n (2 rho d² + 2 g' d² + 2 c m rho d)               + 3 M for each group of examples,
                                                                         + 20 for each weight that it gathers
    token       n (2 rho d² + 2 g d²) + 2.1 · 2 n rho d (c m + t)         + 2 M for each tile of 64 queries
                                                                         + 40 k for each pair of token and head

with n tokens, m keys, rho the share of heads that are on, g key/value heads over heads, g' of those still read, c = 1/2
if causal, else 1, and t the keys that half a tile spans, 32/rho (0 if not causal). The first numbers are what the form
loses per multiply-accumulate, the last what its pieces cost besides. They were fitted to `headwise bench heads`
(d = 512, causal, one CPU thread) on processors of two makers, and of each pair the dearer one stands here: a fixed rule
can be slower than dense on no machine it was measured on, and unlike constants measured where a run happens to be it
gives a resumed run the same forms, and with them the same bits. So a selection of whole heads is skipped as soon as one
head is off, from some hundred tokens on, and one per token with at most 3 of 8 heads of 64, or 4 to 6 of 16 of 32, the
more the longer the sequence.

On CUDA only the sequence form is chosen. Its numbers there are **not measured**: they are set high, so that the host
waits for the gates (once a layer and step) only where the layer takes milliseconds. Other devices compute densely.

Legend: B batch, L query length, M key length, H heads, G key/value heads, E head width, D = H·E width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from headwise.routing.composition import composition_macs
from headwise.routing.projections import Shape
from headwise.routing.tiles import TILE

Skipping = Literal["auto", "never", "always"]
Form = Literal["dense", "sequence", "token"]


@dataclass(frozen=True)
class Prices:
    """The rule's numbers on one kind of device, in multiply-accumulates.

    Attributes:
        least: a layer of fewer is dense.
        factor, group, weight: of the sequence form: per multiply-accumulate, group of examples, gathered weight.
        score, tile, pair: of the token form: per multiply-accumulate of scores, tile, pair; None: never chosen.
    """

    least: float
    factor: float
    group: float
    weight: float
    score: float | None = None
    tile: float = 0.0
    pair: float = 0.0


CPU = Prices(least=1e8, factor=1.05, group=3e6, weight=20, score=2.1, tile=2e6, pair=4e4)
PRICES = {"cpu": CPU, "cuda": Prices(least=1e11, factor=1.25, group=2e10, weight=1e3)}


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
    batch, length, _ = x.shape
    dense = Plan("dense", torch.full((batch,), float(shape.heads)), batch * macs(shape, length, past))
    prices, auto = PRICES.get(x.device.type), skipping == "auto"
    trained = gates.requires_grad and torch.is_grad_enabled()
    if skipping == "never" or (auto and (trained or prices is None or dense.macs < prices.least)):
        return dense
    on = gates.detach() != 0  # [B, L|1, H]
    share = on.sum().item() / on.numel()
    if share == 1:
        return dense
    used = on.any(1)  # [B|1, H], by some token
    whole = used.sum().item() / used.numel()
    by_token = not shape.rank  # the heads of a query that lend each other their attention are computed together
    if not auto and by_token:
        return _token(shape, on, x, past) if past is not None or whole > share else _sequence(shape, on, x)
    if not auto:
        return _sequence(shape, on, x) if past is None else dense
    assert prices is not None
    costs: dict[Form, float] = {"dense": dense.macs}
    if whole < 1 and past is None:
        costs["sequence"] = _sequence_cost(prices, shape, used, batch, length)
    if whole > share and by_token and prices.score is not None:
        costs["token"] = _token_cost(prices, shape, share, used, (batch, length), past)
    form = min(costs, key=lambda form: costs[form])
    if form == "dense":
        return dense
    return _sequence(shape, on, x) if form == "sequence" else _token(shape, on, x, past)


def macs(
    shape: Shape,
    length: int,
    past: int | None = None,
    heads: float | None = None,
    groups: float | None = None,
    squared: float | None = None,
) -> float:
    """Multiply-accumulates of one example of L queries with so many of the heads (default: all).

    Args:
        shape: of the layer.
        length: L.
        past: M, where keys and values are there already; None: they are made of the L tokens.
        heads: computed; groups: of keys and values that are made.
        squared: heads computed, squared, where that is not the square of `heads`, a mean.

    A causal layer counts the scores it needs, (M - L) + (L + 1) / 2 keys per query.
    """
    heads = shape.heads if heads is None else heads
    groups = shape.kv_heads if groups is None else groups
    keys = length if past is None else past
    seen = keys - (length - 1) / 2 if shape.causal else keys
    block = shape.head_width * shape.width  # one head's part of one projection
    output = block * (1 if shape.combination == "mixture" else heads)
    of_keys = 0 if past is not None else 2 * groups * block
    of_channels = heads * block if shape.output_gate else 0
    mixed = seen * (heads**2 if squared is None else squared) if shape.rank else 0
    mixed += composition_macs(shape.width, shape.heads, shape.rank)
    return length * (heads * block + of_keys + 2 * heads * seen * shape.head_width + output + of_channels + mixed)


def _sequence_cost(prices: Prices, shape: Shape, used: Tensor, batch: int, length: int) -> float:
    """The rule's price of the sequence form, where examples use the heads `used` [B|1, H]."""
    per_example = used.sum().item() / len(used), shape.read(used).sum().item() / len(used)
    needed = batch * macs(shape, length, None, *per_example)
    sets = [*set(map(tuple, used.tolist()))]
    chosen, read = sum(map(sum, sets)), shape.read(torch.tensor(sets)).sum().item()
    weights = (2 * (chosen + read) + shape.output_gate * chosen) * shape.head_width * shape.width
    return prices.factor * needed + prices.group * len(sets) + prices.weight * weights


def _token_cost(
    prices: Prices, shape: Shape, share: float, used: Tensor, tokens: tuple[int, int], past: int | None
) -> float:
    """The rule's price of the token form, where a share of all pairs is on, in tokens [B, L]."""
    assert prices.score is not None
    batch, length = tokens
    keys, pairs = past or length, share * shape.heads * batch * length
    seen = keys - (length - 1) / 2 if shape.causal else float(keys)
    span = min(TILE / 2 / max(share, 1e-9), keys / 2) if shape.causal else 0.0
    scores = 2 * pairs * shape.head_width * (prices.score * (seen + span) - seen)
    tiles = pairs / TILE + used.sum().item() * batch / len(used)
    needed = batch * macs(shape, length, past, share * shape.heads)
    return needed + scores + prices.tile * tiles + prices.pair * pairs


def _sequence(shape: Shape, on: Tensor, x: Tensor) -> Plan:
    """Every head that some token of an example has on, `on` [B, L|1, H]."""
    batch, length, _ = x.shape
    used = on.any(1).expand(batch, -1)
    heads, groups = used.sum(1).double(), shape.read(used).sum(1).double()
    squared = heads.square().mean().item()
    each = macs(shape, length, None, heads.mean().item(), groups.mean().item(), squared)  # linear in all three
    return Plan("sequence", heads, batch * each)


def _token(shape: Shape, on: Tensor, x: Tensor, past: int | None) -> Plan:
    """Every pair of token and head that is on, `on` [B, L|1, H]."""
    batch, length, _ = x.shape
    heads = (on.sum((1, 2)).double() / on.shape[1]).expand(batch)
    return Plan("token", heads, batch * macs(shape, length, past, heads.mean().item()))
