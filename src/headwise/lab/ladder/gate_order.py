"""Whether a better head ever gets a smaller gate: the order of gates within each group of heads that compete.

A head with a larger logit and a larger ranking score (logit plus bias) must not get the smaller gate, nor be off while
the other is on. Asked of the gate function as it acts in training and at evaluation, and of the soft form whose
gradient trains a hard rule: a wrong sign there does not show in the forward pass.

Legend: B batch, L length, H heads, R routed heads, N numbers per token that the gate function takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from headwise.routing.gates import GateFunction, Gates
from headwise.routing.routers import Router, Scored
from headwise.tasks.base import Batch, TaskModel

TOLERANCE = 1e-5  # of the largest gate: what rounding may turn around
MODES = ("in training", "at evaluation", "in the soft form that trains it")


@torch.no_grad()
def disorder(model: TaskModel, batch: Batch, seed: int = 0) -> dict[str, float]:
    """Share of tokens in which a better head has the smaller gate, by mode (`MODES`); {} where nothing ranks heads.

    Asked of the gates that the model has on `batch`, and of its gate functions given the same numbers ten times smaller
    (where heads are nearly even, a wrong sign shows first) and random ones, since a router at zero ranks nothing.

    Args:
        model: left in the mode in which it came.
        batch: a few examples are enough.
        seed: of the random numbers.
    """
    worst: dict[str, float] = {}
    generator = torch.Generator().manual_seed(seed)
    was_training = model.training
    with torch.random.fork_rng(devices=[]):
        for mode in MODES[:2]:
            for router, numbers, gates in _routed(model.train(mode == MODES[0]), batch):
                if mode == MODES[1] or not router.gate.noisy:
                    _note(worst, mode, _share(router, numbers, gates))
                random = torch.randn(numbers.shape, generator=generator).to(numbers)
                for probe in (numbers, 0.1 * numbers, random):
                    for own_mode, share in disorder_of(router, probe).items():
                        _note(worst, own_mode, share)
    model.train(was_training)
    return worst


@torch.no_grad()
def disorder_of(router: Router, numbers: Tensor) -> dict[str, float]:
    """The same for the gate function of one router, given numbers [B, L|1, N] in place of those that it computes."""
    return {
        mode: _share(router, numbers, form(numbers, router.temperature, None, mode != MODES[1], router.ranking_bias))
        for mode, form in _forms(router.gate).items()
    }


def _routed(model: TaskModel, batch: Batch) -> list[tuple[Router, Tensor, Gates]]:
    """Each router that ranks heads, at every step: what its gate function got, [B, L|1, N], and its gates."""
    found: list[tuple[Router, Tensor, Gates]] = []

    def hook(router: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, context, mask = (*inputs, None, None)[:3]
        found.append((router, router.logits(x, context, mask), output[0]))

    routers = [router for router in model.backbone.routers() if isinstance(router, Scored)]
    hooks = [router.register_forward_hook(hook) for router in routers]
    try:
        model(batch)
    finally:
        for handle in hooks:
            handle.remove()
    return found


def _note(worst: dict[str, float], mode: str, share: float) -> None:
    worst[mode] = max(worst.get(mode, 0.0), share)


def _share(router: Router, numbers: Tensor, gates: Gates) -> float:
    wrong = [_inverted(gates, *group) for group in _groups(router, numbers)]
    return torch.stack(wrong).any(0).double().mean().item()


def _forms(gate: GateFunction) -> dict[str, GateFunction]:
    """By mode: the gate function as it is trained (unless that is noisy), evaluated, and softened, if that differs."""
    forms = {MODES[1]: gate}
    if not gate.noisy:
        forms[MODES[0]] = gate
    if getattr(gate, "training", None) == "straight_through":
        changed: Any = gate
        forms[MODES[2]] = replace(changed, training="soft")
    return forms


def _groups(router: Router, numbers: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The heads that compete, their logits and their ranking scores: the routed ones, and shared ones that are weighed.

    Shared heads come first, routed ones last; the numbers have the routed logits first.
    """
    routed = router.columns["heads"]
    logits = numbers[..., :routed] / router.temperature
    scores = logits if router.ranking_bias is None else logits + router.ranking_bias
    yield slice(-routed, None), logits, scores
    if "shared" in router.columns:
        shared = router.columns["shared"]
        logits = numbers[..., routed : routed + shared]
        yield slice(0, shared), logits, logits


def _inverted(gates: Gates, heads: slice, logits: Tensor, scores: Tensor) -> Tensor:
    """Tokens [B, L|1] in which a pair of heads is the wrong way round."""
    weight, on = gates.weight[..., heads], gates.active[..., heads]
    slack = TOLERANCE * weight.abs().amax(-1)[..., None, None]
    ranks = scores[..., :, None] > scores[..., None, :] + TOLERANCE  # [B, L|1, R, R]: the first ranks before the second
    ahead = ranks & (logits[..., :, None] > logits[..., None, :] + TOLERANCE)
    smaller = weight[..., :, None] < weight[..., None, :] - slack
    skipped = ~on[..., :, None] & on[..., None, :]
    return ((ahead & smaller) | (ranks & skipped)).flatten(-2).any(-1)
