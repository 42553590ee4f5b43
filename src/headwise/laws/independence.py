"""Laws 5 and 7: an example depends neither on padding nor on its batch, a causal model not on what comes later."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from headwise.laws.arms import SHAPE, perturbed
from headwise.models.arm import Arm
from headwise.models.generation import extend, reread
from headwise.models.sizes import ModelConfig
from headwise.reasoning.draws import keys_of
from headwise.reasoning.trace import Trace
from headwise.routing.layout import Layout


def batch(count: int = 5, length: int = 6, seed: int = 0) -> Tensor:
    """Embedded examples [count, length, D]."""
    return torch.randn(count, length, SHAPE.width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def batch_mates(arm: Arm, training: bool, shape: ModelConfig = SHAPE) -> list[str]:
    """Examples that differ alone and in a batch, padded on the right; gates that draw for a batch are left out."""
    if training and arm.gate.noisy:
        return []
    backbone = perturbed(arm, shape=shape).train(training)
    x = batch()
    mask = torch.ones(5, 6, dtype=torch.bool)
    mask[2, 4:] = False
    broken = []
    with torch.no_grad():
        keys = keys_of(torch.arange(5), 7)
        together = backbone(x, Layout(mask, keys=keys), record=True)
        for i in range(5):
            length = int(mask[i].sum())
            alone = backbone(x[i : i + 1, :length], Layout(keys=keys[i : i + 1]))
            pairs = {
                "states": (together.states[:, i, :length], alone.states[:, 0]),
                "steps": (together.steps[i], alone.steps[0]),
                "weights": (together.weights[:, i], alone.weights[:, 0]),
            }
            broken += [f"{what} of an example of {length} tokens depend on its batch" for what in differing(pairs)]
    return broken


def causality(arm: Arm, shape: ModelConfig = SHAPE) -> list[str]:
    """What of a causal model changes at positions before the inputs that change."""
    backbone = perturbed(arm, causal=True, shape=shape).eval()
    x = batch(2)
    changed = x.clone()
    changed[:, 3:] = batch(2, 3, seed=9)
    return looks_ahead(partial(backbone, record=True), x, changed, 3)


@torch.no_grad()
def looks_ahead(run: Callable[[Tensor], Trace], x: Tensor, changed: Tensor, since: int) -> list[str]:
    """What of a backbone's trace differs before position `since`, where the two inputs [B, L, D] are the same."""
    one, other = run(x), run(changed)
    pairs = {"outputs": (one.states[:, :, :since], other.states[:, :, :since])}
    for step, changed_step in zip(one.gates or [], other.gates or [], strict=True):
        for layer, (gates, changed_gates) in enumerate(zip(step, changed_step, strict=True)):
            pairs[f"gates of layer {layer}"] = (gates.weight[:, :since], changed_gates.weight[:, :since])
    broken = [f"{what} depend on later inputs" for what in differing(pairs)]
    if torch.allclose(one.states[:, :, since:], other.states[:, :, since:]):
        broken.append("outputs do not depend on their own inputs")
    return broken


def rereading(arm: Arm, shape: ModelConfig = SHAPE) -> list[str]:
    """Law 6 of generation: where reading in pieces, with a memory, differs from reading all at once."""
    backbone = perturbed(arm, causal=True, shape=shape).eval()
    x, past, parts = batch(2, 7), None, []
    with torch.no_grad():
        for piece in torch.split(x, [3, 1, 2, 1], 1):
            states, past = extend(backbone, piece, past)
            parts.append(states)
        pairs = {"outputs": (torch.cat(parts, 1), reread(backbone, x))}
    return [f"{what} in pieces are not those of the whole" for what in differing(pairs)]


def differing(pairs: dict[str, tuple[Tensor, Tensor]]) -> Iterator[str]:
    """Names of the pairs that differ by more than rounding in float64."""
    for what, (one, other) in pairs.items():
        if not torch.allclose(one, other, rtol=1e-7, atol=1e-7):
            yield what
