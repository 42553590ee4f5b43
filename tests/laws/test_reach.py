"""Laws 2 and 3: every trainable parameter gets a gradient and moves. And the walk over all combinations."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from headwise.errors import InputError
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import HRM, ClassicalConfig, HRMActConfig, HRMConfig, NoController
from headwise.reasoning.halting import EntropyHalting, FixedHalting, PonderHalting
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.attention import RoutedAttention
from headwise.routing.balance import BalanceConfig
from headwise.routing.gates import GateFunction, Gumbel, Sigmoid, Soft, TopK
from headwise.routing.layout import Layout
from headwise.routing.mixtures import Adaptive, ReLU, SharedRouted, TopP
from headwise.routing.routers import LearnedRouter, NoRouter, RandomRouter, StaticRouter

from .arms import ARMS, SHAPE, Causal, fitted, perturbed

CAUSAL = {"baseline", "looped", "gated", "linear", "hrm_token", "layer", "mixture", "top_k", "act_token", "reuse_heads"}
CAUSAL |= {"moh", "top_p", "adaptive", "relu", "two_shared", "moh_soft", "top_p_fixed", "top_p_fallback", "top_p_soft"}
CAUSAL |= {"adaptive_soft", "adaptive_fixed", "relu_layer", "segments", "segments_of_one_step", "segments_reuse"}


def losses_of(backbone: Backbone, layout: Layout | None = None) -> Iterator[torch.Tensor]:
    """A task's loss on every supervised state, segment by segment: an example's updates. Routing losses are left out:
    they must not be what reaches a router."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 6, backbone.model.width, generator=generator, dtype=torch.float64)
    carry = None
    for _ in range(backbone.arm.refinement.segments):
        trace = backbone(x, layout, carry)
        target = torch.randn(trace.states.shape, generator=generator, dtype=torch.float64)
        per_state = (trace.states - target).square().mean((2, 3))
        carry = trace.carry.detach()
        yield (trace.weights * per_state).sum(0).mean()


def unreached(backbone: Backbone, layout: Layout | None = None) -> list[str]:
    """Parameters whose gradient over a batch's updates is missing or below 1e-6 of the largest, in relation to their
    own size."""
    backbone.zero_grad()
    for loss in losses_of(backbone, layout):
        loss.backward()
    norms = {
        name: 0.0 if p.grad is None else (p.grad.norm() / p.detach().norm()).item()
        for name, p in backbone.named_parameters()
    }
    return [name for name, norm in norms.items() if not norm > 1e-6 * max(norms.values())]


@pytest.mark.parametrize("name", ARMS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    check(fitted(ARMS[name]), Causal(), SHAPE)
    assert unreached(perturbed(ARMS[name])) == []


@pytest.mark.parametrize("name", sorted(CAUSAL))
def test_every_parameter_of_a_causal_model_gets_a_gradient(name: str) -> None:
    check(fitted(ARMS[name]), Causal(True), SHAPE)
    assert unreached(perturbed(ARMS[name], causal=True)) == []


@pytest.mark.parametrize("name", ARMS)
def test_every_parameter_moves_in_the_updates_of_one_batch(name: str) -> None:
    backbone = perturbed(ARMS[name])
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    optimiser = torch.optim.AdamW(backbone.parameters(), lr=1e-3, weight_decay=0, fused=True)
    for loss in losses_of(backbone):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert [name for name, p in backbone.named_parameters() if torch.equal(p, before[name])] == []


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


ROUTERS = [NoRouter(), StaticRouter(k=1), RandomRouter("token"), RandomRouter("sequence")] + [
    LearnedRouter(granularity) for granularity in ("token", "sequence", "layer")
]
GATES = [Soft(), TopK(1), Gumbel(1), Sigmoid()]
MIXTURES = [SharedRouted(1, 1), SharedRouted(2, 1, training="soft"), TopP(), TopP(0.6, fallback=0.4, shared=1)]
MIXTURES += [Adaptive(), Adaptive(1, 3, sharpness=5.0, shared=1), Adaptive(training="soft"), ReLU()]
CONTROLLERS = [NoController(), ClassicalConfig(), HRMConfig(period=2), HRMActConfig()]
HALTING = [FixedHalting(), EntropyHalting(), PonderHalting()]


def loops() -> Iterator[RefinementConfig]:
    for steps, gradient, injection in itertools.product((1, 5), ("full", "truncated", "last"), ("none", "input")):
        for supervision, reuse in itertools.product(("last", "uniform", "ramp"), ("none", "keys_values", "heads")):
            window = min(2, steps) if gradient == "truncated" else 1
            yield RefinementConfig(steps, gradient, window, injection, supervision, reuse)


# A gate function and a loop meet only in the gates that each step hands over, so the loops that the whole product has
# walked with four gate functions are walked with the others by one example of each kind.
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


def combinations() -> Iterator[tuple[Any, ...]]:
    yield from itertools.product(ROUTERS, GATES, ("mask_concat", "mixture"), CONTROLLERS, HALTING, loops())
    yield from itertools.product(ROUTERS, (Soft(),), ("mask_concat",), CONTROLLERS, HALTING, segmented())
    yield from itertools.product(ROUTERS, MIXTURES, ("mask_concat",), CONTROLLERS, HALTING, KINDS)


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
        check(arm, Causal(causal), ModelConfig(width=8, heads=heads_for(arm.gate)))
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


def heads_for(gate: GateFunction) -> int:
    """Two, or four for gate functions that share some and choose among the rest."""
    return 4 if gate in MIXTURES else 2


def never_reached(arm: Arm, causal: bool) -> set[str]:
    """Parameters out of reach at three random points: at a single one a saturated unit may hide one by chance."""
    shape = ModelConfig(width=8, heads=heads_for(arm.gate), ffn=4, depth=1)
    missing: set[str] = set()
    for seed in range(3):
        torch.manual_seed(seed)
        backbone = Backbone(shape, arm, causal).double()
        with torch.no_grad():
            for parameter in backbone.parameters():
                parameter.add_(0.5 * torch.randn_like(parameter))
        found = set(unreached(backbone))
        missing = missing & found if seed else found
        if not missing:
            break
    return missing


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
        backbone = Backbone(ModelConfig(width=8, heads=heads_for(gate), ffn=4), arm).double()
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
