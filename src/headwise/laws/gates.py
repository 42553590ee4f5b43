"""Laws 4 and 9 on gate functions: order within the heads that compete, scale, and gradients.

Legend: H heads, N numbers that the gate function takes, the logits of the R routed heads first.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from headwise.routing.gates import GateFunction

HEADS = 5
ONE = torch.tensor(1.0, dtype=torch.float64)


def order(gate: GateFunction, numbers: Tensor, training: bool) -> list[str]:
    """Groups of heads in which a larger score has a smaller gate; noise is off."""
    weight = gate(numbers, ONE, None, training and not gate.noisy).weight
    broken = [heads for heads, score in groups(gate, numbers) if not in_order(weight[..., heads], score)]
    return [f"heads {heads.start} to {heads.stop - 1}: a larger score has a smaller gate" for heads in broken]


def bias_order(gate: GateFunction, numbers: Tensor) -> list[str]:
    """What a bias on the ranking does beside deciding which heads are on."""
    routed = gate.columns(HEADS)["heads"]
    bias = torch.linspace(-3, 3, routed, dtype=torch.float64)
    logits = numbers[..., :routed].clamp(-4, 4)  # where probabilities underflow they no longer say which is larger
    gates = gate(torch.cat([logits, numbers[..., routed:]], -1), ONE, None, False, bias)
    on, weight = gates.active[..., -routed:], gates.weight[..., -routed:]
    broken = []
    if (getattr(gate, "fallback", None) is None or not on.all()) and not in_order(on.double(), logits + bias):
        broken.append("a head is on while one of a larger ranking score is off")
    if not in_order(weight[on], logits[on]):
        broken.append("of the heads that are on, a larger logit has a smaller gate")
    return broken


def scale(gate: GateFunction, numbers: Tensor, temperature: float) -> list[str]:
    """Gates that are not finite, not 0 where off, or not 1 at equal logits; declarations that do not hold."""
    gates = gate(numbers, torch.tensor(temperature, dtype=torch.float64), None, False)
    equal = gate(torch.zeros_like(numbers), ONE, None, False)
    shared = getattr(gate, "shared", 0)
    sums = gates.probs.sum(-1)
    rules = {
        "a gate is not finite": gates.weight.isfinite().all(),
        "a head that is off has a gate": (gates.weight[~gates.active] == 0).all(),
        "a shared head is off": gates.active[..., :shared].all(),
        "a gate is not 1 at equal logits": torch.allclose(equal.weight[equal.active], ONE),
        "softmax is declared, and probs do not sum to 1": not gate.softmax
        or torch.allclose(sums, torch.ones_like(sums)),
        "no budget is predicted, and one is declared": not gate.predicts_budget or gates.budget is not None,
        "heads vary, and nothing stands in for their number": not gate.varies or gates.expected is not None,
        "the gate selects, and no routed head is on": not gate.selects or (gates.active.sum(-1) > shared).all(),
        "the number of heads varies, which is not declared": gate.varies
        or (gates.active.sum(-1) == equal.active.sum(-1).flatten()[0]).all(),
        "heads are off, and neither selection nor variation is declared": gate.varies
        or gate.selects
        or gates.active.all(),
    }
    return [text for text, holds in rules.items() if not holds]


def gradients(gate: GateFunction) -> list[str]:
    """Disagreement of the gate's gradient, or its surrogate's, with finite differences, and of the two."""
    soft = gate.surrogate()
    if soft is None:
        return []
    width = sum(gate.columns(HEADS).values())
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, 3, width, dtype=torch.float64, generator=generator, requires_grad=True)
    if not torch.autograd.gradcheck(
        lambda z: soft(z, ONE * 0.7, None, not soft.noisy).weight, numbers, raise_exception=False
    ):
        return [f"the gradient of {soft} does not agree with finite differences"]
    probe = torch.randn(2, 3, HEADS, dtype=torch.float64, generator=generator)
    made = [(each(numbers, ONE, None, not each.noisy).weight * probe).sum() for each in (gate, soft)]
    one, other = (torch.autograd.grad(value, numbers)[0] for value in made)
    return [] if torch.allclose(one, other) else [f"the gradient is not that of {soft}"]


def every(gate: GateFunction, seed: int = 0) -> Iterator[str]:
    """What breaks any of these laws on logits of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    for size in (0.1, 1.0, 5.0, 20.0):
        width = sum(gate.columns(HEADS).values())
        for numbers in (size * torch.randn(20, 1, 1, width, dtype=torch.float64, generator=generator)).unbind():
            for training in (False, True):
                yield from order(gate, numbers, training)
            if gate.selects and not gate.noisy:
                yield from bias_order(gate, numbers)
            yield from scale(gate, numbers, 0.7)
    yield from gradients(gate)


def groups(gate: GateFunction, numbers: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """The heads that compete with each other, and their scores: the routed ones, and shared ones that are weighed."""
    columns = gate.columns(HEADS)
    routed = columns["heads"]
    yield slice(HEADS - routed, HEADS), numbers[..., :routed]
    if "shared" in columns:
        yield slice(0, HEADS - routed), numbers[..., routed : routed + columns["shared"]]


def in_order(weight: Tensor, score: Tensor) -> bool:
    """Whether no larger score has a smaller weight."""
    weight, score = weight.flatten(), score.flatten()
    larger = score[:, None] > score[None, :]
    smaller_gate = weight[:, None] < weight[None, :] - 1e-12
    return not bool((larger & smaller_gate).any())
