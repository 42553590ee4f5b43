"""Ways of choosing heads in a pretrained model that nothing was trained for, side by side: what each costs.

Each is a rule from a layer's number, its input [B, L, D] and the norms of what its heads add [B, L, H]
(`headwise.pretrained.contributions`) to gates of 0 and 1. Those that choose once (static) or by chance are the controls
of those that choose at every token; the oracle chooses by the norms themselves, which nothing knows before the heads
are computed.

A rule keeps k heads of each layer, or a share of all heads of the model under one threshold, so that layers where heads
say more keep more of them.

Legend: B batch, L length, H heads, D width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headwise.pretrained.contributions import observed
from headwise.pretrained.objectives import Objective
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.warm_start import SMALLEST, Fit, observe, quantile, streams
from headwise.routing.gates import Gates, largest
from headwise.routing.routers import Learned

Rule = Callable[[int, Tensor, Tensor], Tensor]
"""(number of the layer, input [B, L, D], norms [B, L, H]) -> gates, bool [B, L, H] or less of it."""


@dataclass(frozen=True)
class Calibration:
    """What was seen on the texts that choices are made from.

    Attributes:
        means: [H] of each layer, mean norm of what each head adds.
        levels: [H] of each layer, mean logarithm of that norm over the length of what it is added to.
        lengths: of each layer, mean logarithm of that length.
        norms: [T, H] of each layer, log norms of the held-out tokens.
    """

    means: list[Tensor]
    levels: list[Tensor]
    lengths: list[float]
    norms: list[Tensor]


def calibrate(retrofitted: Retrofitted, batches: Sequence[Mapping[str, Tensor] | Tensor]) -> Calibration:
    """One pass over `batches` with every head on."""
    layers = range(len(retrofitted.sites))
    norms: list[list[Tensor]] = [[] for _ in layers]
    lengths: list[list[Tensor]] = [[] for _ in layers]
    with streams(retrofitted) as around:
        for batch in batches:
            given = {"input_ids": batch} if isinstance(batch, Tensor) else batch
            for layer, (_, found) in observe(retrofitted, given).items():
                norms[layer].append(found)
                lengths[layer].append(around[layer])
    together = [torch.cat(layer) for layer in norms]
    mean = [float(torch.cat(layer).mean()) for layer in lengths]
    logs = [(layer + SMALLEST).log() for layer in together]
    return Calibration(
        means=[layer.mean(0) for layer in together],
        levels=[layer.mean(0) - length for layer, length in zip(logs, mean, strict=True)],
        lengths=mean,
        norms=logs,
    )


def static(scores: Sequence[Tensor], keep: int | None, share: float | None) -> Rule:
    """The same heads at every token: the best by `scores` [H] of each layer, or the best of all layers together."""
    if keep is not None:
        chosen = [largest(layer, keep) for layer in scores]
    else:
        assert share is not None
        cut = separating(torch.cat(list(scores)), share)
        chosen = [layer > cut for layer in scores]
    return lambda layer, x, norms: chosen[layer].to(x.device)


def separating(scores: Tensor, share: float) -> float:
    """A value between the largest `share` of scores [N], one at least, and the others; below all for all."""
    ranked = scores.sort(descending=True).values
    kept = max(round(share * len(ranked)), 1)
    return float((ranked[kept - 1] + ranked[kept]) / 2 if kept < len(ranked) else ranked[-1] - 1)


def chance(keep: int, seed: int) -> Rule:
    """k heads at random at every token."""
    generator = torch.Generator().manual_seed(seed)
    return lambda layer, x, norms: largest(torch.rand(norms.shape, generator=generator).to(x.device), keep)


def oracle(calibration: Calibration, keep: int | None, share: float | None) -> Rule:
    """The heads that add most at this very token."""
    if keep is not None:
        return lambda layer, x, norms: largest(norms, keep)
    assert share is not None
    lengths = calibration.lengths
    every = [layer - length for layer, length in zip(calibration.norms, lengths, strict=True)]
    cut = quantile(torch.cat([layer.flatten() for layer in every]), 1 - share)
    return lambda layer, x, norms: (norms + SMALLEST).log() - lengths[layer] >= cut


def routed(retrofitted: Retrofitted) -> Rule:
    """What the routers say, as they stand."""

    def rule(layer: int, x: Tensor, norms: Tensor) -> Tensor:
        router = retrofitted.routers[layer]
        assert isinstance(router, Learned)
        gates: Gates = router(x, None, None)[0]
        return gates.active

    return rule


@contextmanager
def ruled(retrofitted: Retrofitted, rule: Rule) -> Iterator[list[Tensor]]:
    """Within the block, heads as `rule` says in place of the routers'.

    Yields:
        Grows by the share of heads that were on, a scalar for each layer and pass.
    """
    shares: list[Tensor] = []
    gates: dict[int, Tensor] = {}
    sites, handles = retrofitted.sites, list[Any]()

    def see(layer: int, x: Tensor, norms: Tensor) -> None:
        gates[layer] = rule(layer, x, norms).to(x.dtype).expand_as(norms)
        shares.append(gates[layer].mean())

    def gate(layer: int) -> Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]:
        def multiply(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            weight = gates.pop(layer).repeat_interleave(sites[layer].head_width, -1)
            return args[0] * weight.view_as(args[0]), *args[1:]

        return multiply

    with retrofitted.all_on(), observed(sites, see):  # its hooks run before those that follow here
        handles = [site.projection.register_forward_pre_hook(gate(layer)) for layer, site in enumerate(sites)]
        try:
            yield shares
        finally:
            for handle in handles:
                handle.remove()


@torch.no_grad()
def costs(model: Any, examples: Sequence[Tensor], objective: Objective, kept: Sequence[Tensor]) -> list[float]:
    """What each example [1, L] costs more than the untouched model, of which `kept` tells."""
    device = next(model.parameters()).device
    moved = [tokens.to(device) for tokens in examples]
    return [objective.change(model(input_ids=tokens), tokens, own) for tokens, own in zip(moved, kept, strict=True)]


@torch.no_grad()
def untouched(retrofitted: Retrofitted, examples: Sequence[Tensor], objective: Objective) -> list[Tensor]:
    """What is kept of the model with every head on, for `costs`."""
    model, device = retrofitted.model, next(retrofitted.model.parameters()).device
    with retrofitted.all_on():
        moved = [tokens.to(device) for tokens in examples]
        return [objective.keep(model(input_ids=tokens), tokens) for tokens in moved]


def fits_summary(fits: Sequence[Fit]) -> dict[str, float]:
    """How well the layers' routers predict, in three numbers."""
    r2 = torch.tensor([fit.r2 for fit in fits], dtype=torch.float64)
    return {"r2_mean": float(r2.mean()), "r2_least": float(r2.min()), "layers": float(len(r2))}
