"""Laws 2 and 3: every trainable parameter gets a gradient and moves. And the walk over all combinations."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from headwise.errors import InputError
from headwise.laws.arms import every_example
from headwise.laws.reach import losses_of, never_reached, unmoved, unreached
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import HRM
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.attention import RoutedAttention
from headwise.routing.balance import BalanceConfig
from headwise.routing.gates import Gumbel, Sigmoid, Soft, TopK
from headwise.routing.routers import LearnedRouter

from .arms import ARMS, CAUSAL, fitted, perturbed, stand_in


@pytest.mark.parametrize("name", ARMS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    check(fitted(ARMS[name]), *stand_in(ARMS[name]))
    assert unreached(perturbed(ARMS[name])) == []


@pytest.mark.parametrize("name", CAUSAL)
def test_every_parameter_of_a_causal_model_gets_a_gradient(name: str) -> None:
    check(fitted(ARMS[name]), *stand_in(ARMS[name], causal=True))
    assert unreached(perturbed(ARMS[name], causal=True)) == []


@pytest.mark.parametrize("name", ARMS)
def test_every_parameter_moves_in_the_updates_of_one_batch(name: str) -> None:
    assert unmoved(perturbed(ARMS[name])) == []


def test_planted_slow_module_without_gradient_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original ran f_H under no_grad."""
    slow = HRM._slow
    monkeypatch.setattr(HRM, "_slow", lambda self, *rest: torch.no_grad()(slow)(self, *rest))
    assert any("slow_cell" in name for name in unreached(perturbed(ARMS["hrm"])))


def test_planted_gates_that_are_computed_but_unused_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original's winning arm never multiplied by its routing weights."""
    combine = RoutedAttention.combine
    monkeypatch.setattr(RoutedAttention, "combine", lambda self, heads, gates: combine(self, heads, None))
    missing = unreached(perturbed(ARMS["linear"]))
    assert any("router" in name for name in missing)


def test_planted_detached_embedding_is_caught() -> None:
    """The original's "HRM" detach cut the encoder off: 46 % of its parameters never moved."""

    class Detaching(nn.Module):
        role = "backbone"

        def __init__(self, inner: Backbone) -> None:
            super().__init__()
            self.model, self.arm, self.inner = inner.model, inner.arm, inner
            self.encoder = nn.Linear(16, 16, dtype=torch.float64)

        def forward(self, x: torch.Tensor, *others: object) -> object:
            return self.inner(self.encoder(x).detach(), *others)

    assert {"encoder.weight", "encoder.bias"} <= set(unreached(Detaching(perturbed(ARMS["hrm"]))))


def test_planted_key_bias_would_be_out_of_reach() -> None:
    """Why keys have no bias: softmax hides it."""
    torch.manual_seed(0)
    plain = nn.MultiheadAttention(16, 4, batch_first=True, dtype=torch.float64)
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    plain(x, x, x, need_weights=False)[0].square().mean().backward()
    grad = plain.in_proj_bias.grad.unflatten(0, (3, 16))
    assert grad[1].norm() < 1e-12 * grad[2].norm() * 1e6
    assert grad[2].norm() > 1e-6


ROUTERS, CONTROLLERS, HALTING = (every_example(key) for key in ("router", "controller", "halting"))
# One gate function that weighs all heads and one that chooses walk through the whole product; two more through all
# loops and controllers; they and the others, and those of plugins, through one loop of each kind.
FIXED = (Soft, TopK)
GATES = [gate for gate in every_example("gate") if type(gate) in FIXED and not getattr(gate, "renormalise", False)]
MIXTURES = [gate for gate in every_example("gate") if gate not in GATES]


def loops() -> Iterator[RefinementConfig]:
    for steps, gradient, injection in itertools.product((1, 5), ("full", "truncated", "last"), ("none", "input")):
        for supervision, reuse in itertools.product(("last", "uniform", "ramp"), ("none", "keys_values", "heads")):
            window = min(2, steps) if gradient == "truncated" else 1
            yield RefinementConfig(steps, gradient, window, injection, supervision, reuse)


# A gate function and a loop meet only in the gates that each step hands over, so the loops that the whole product has
# walked with these two are walked with the others by one example of each kind.
KINDS = [
    RefinementConfig(),
    RefinementConfig(5, injection="input", supervision="uniform"),
    RefinementConfig(5, "last", injection="input"),
    RefinementConfig(5, "truncated", 2, injection="input"),
    RefinementConfig(5, reuse="heads"),
]


def segmented() -> Iterator[RefinementConfig]:
    """Where the slow module of period 2 runs once in two segments, once a segment, or twice."""
    for steps, gradient, injection in itertools.product((1, 2, 4), ("full", "truncated", "last"), ("none", "input")):
        for supervision, reuse in itertools.product(("last", "uniform"), ("none", "keys_values", "heads")):
            window = min(3, steps) if gradient == "truncated" else 1
            yield RefinementConfig(steps, gradient, window, injection, supervision, reuse, 3)


def recursed() -> Iterator[RefinementConfig]:
    """Other recursions in one cycle and in two, and one stream from other initial states."""
    recursions, starts = (every_example(f"refinement.{key}") for key in ("recursion", "initial_state"))
    gradients = (("full", 1), ("truncated", 1), ("truncated", 2), ("last", 1))
    for recursion, cycles, segments in itertools.product(recursions, (1, 2), (1, 2)):
        for (gradient, window), supervision in itertools.product(gradients, ("last", "uniform")):
            steps = cycles * recursion.cycle
            loop = RefinementConfig(steps, gradient, min(window, steps), "none", supervision, segments=segments)
            yield replace(loop, recursion=recursion)
    for start, steps, injection in itertools.product(starts, (1, 4), ("none", "input")):
        yield RefinementConfig(steps, injection=injection, initial_state=start, noise=0.1 if steps > 1 else 0.0)
    for start, reuse in itertools.product(starts, ("none", "heads")):
        yield RefinementConfig(6, reuse=reuse, recursion=TwoStreams(3), initial_state=start)


def combinations() -> Iterator[tuple[Any, ...]]:
    yield from itertools.product(ROUTERS, GATES, ("mask_concat", "mixture"), CONTROLLERS, HALTING, loops())
    yield from itertools.product(ROUTERS, (Soft(),), ("mask_concat",), CONTROLLERS, HALTING, segmented())
    yield from itertools.product(ROUTERS, (Soft(), TopK(2)), ("mask_concat",), CONTROLLERS, HALTING, recursed())
    yield from itertools.product(
        ROUTERS[:1], (Gumbel(2), Sigmoid()), ("mask_concat",), CONTROLLERS, HALTING[:1], loops()
    )
    yield from itertools.product(ROUTERS, MIXTURES, ("mask_concat", "mixture"), CONTROLLERS, HALTING, KINDS)
    plain, gates = (BalanceConfig(),), (Soft(), TopK(2), Sigmoid())
    for beside in (("elementwise", 0), ("none", 2)):  # where heads are combined, and where they attend
        for part in itertools.product(ROUTERS, gates, ("mask_concat",), CONTROLLERS, HALTING[:1], KINDS, plain):
            yield (*part, *beside)


def allowed(causal: bool) -> list[Arm]:
    """Every combination that `check` lets through; the others must be refused in one line that names a key."""
    arms = []
    for part in combinations():
        arm = Arm(*part)
        refusal = refused(arm, causal)
        if refusal is None:
            arms.append(arm)
        else:
            assert refusal.startswith("arm.")
            assert "\n" not in refusal
    return arms


def refused(arm: Arm, causal: bool) -> str | None:
    try:
        check(arm, *stand_in(arm, causal))
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("share", range(8))
@pytest.mark.parametrize("causal", [False, True])
def test_each_combination_trains_every_parameter_or_is_refused(causal: bool, share: int) -> None:
    arms = allowed(causal)
    assert len(arms) > 200
    failed = {str(arm): missing for arm in arms[share::8] if (missing := never_reached(arm, causal))}
    assert failed == {}


BALANCES = [
    BalanceConfig(losses, bias_rate, target)
    for losses in [(), ("load_balance",), ("router_z",), ("complexity",), ("sparsity",), ("load_balance", "sparsity")]
    for bias_rate in (0.0, 0.01)
    for target in (None, 2.5)
]


@pytest.mark.parametrize("router", ROUTERS, ids=str)
def test_each_balance_trains_the_router_or_is_refused(router: Any) -> None:
    """Every loss that an arm has reaches its router, and what is steered is reported; else `check` names the key."""
    seen: set[str] = set()
    for gate, balance in itertools.product([*GATES, *MIXTURES], BALANCES):
        arm = Arm(router, gate, balance=balance)
        refusal = refused(arm, causal=False)
        if refusal is not None:
            assert refusal.startswith("arm.")
            assert "\n" not in refusal
            continue
        torch.manual_seed(0)
        backbone = Backbone(ModelConfig(width=8, heads=4, ffn=4), arm).double()
        parameters = [p for own in backbone.routers() for p in own.parameters()]
        for own in backbone.routers():
            if own.multiplier is not None:
                own.multiplier.fill_(0.5)
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(0.5 * torch.randn_like(parameter))
        trace = backbone(torch.randn(7, 6, 8, dtype=torch.float64))  # of fewer examples loads are even by chance
        wanted = {*balance.losses, *(["budget"] if balance.target is not None else [])}
        assert set(trace.losses) - {"entropy"} == wanted
        assert (trace.loads is not None) == balance.steers
        for name in wanted:
            gradients = torch.autograd.grad(trace.losses[name], parameters, retain_graph=True, allow_unused=True)
            assert any(g is not None and g.norm() > 1e-9 for g in gradients), (name, arm)
        seen |= wanted
    if isinstance(router, LearnedRouter) and router.granularity != "layer":
        assert seen == {"load_balance", "router_z", "complexity", "sparsity", "budget"}


@pytest.mark.parametrize("name", [name for name, arm in ARMS.items() if isinstance(arm.router, LearnedRouter)])
def test_every_column_of_a_router_is_reached(name: str) -> None:
    """A column that nothing reads would hide in a weight whose other columns train."""
    backbone = perturbed(ARMS[name])
    for loss in losses_of(backbone):
        loss.backward()
    for router in backbone.routers():
        norms = sum(p.grad.view(len(p), -1).norm(dim=1) for p in router.parameters())
        assert (norms > 0).all(), dict(zip(router.columns, norms.split(list(router.columns.values())), strict=True))
