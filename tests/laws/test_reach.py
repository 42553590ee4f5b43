"""Laws 2 and 3: every trainable parameter gets a gradient and moves. And the walk over all combinations."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from headwise.laws.arms import PARTS, every_example, part_of
from headwise.laws.reach import losses_of, never_reached, unmoved, unreached
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import HRM
from headwise.routing.attention import RoutedAttention
from headwise.routing.balance import BalanceConfig
from headwise.routing.routers import LearnedRouter

from .arms import ARMS, CAUSAL, fitted, perturbed, stand_in
from .combinations import GATES, MIXTURES, ROUTERS, covering, is_one_line, judged, refused


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


@pytest.mark.parametrize("causal", [False, True])
def test_combinations_train_every_parameter_and_the_others_are_refused_in_a_line(causal: bool) -> None:
    """Those in which any two values meet; `python -m tests.drivers.combinations` trains them all."""
    arms, refusals = judged(causal)
    assert [refusal for refusal in refusals if not is_one_line(refusal)] == []
    chosen = covering(arms)
    if not causal:
        for key in PARTS:
            seen = [part_of(arm, key) for arm in chosen]
            assert [example for example in every_example(key) if example not in seen] == []
    assert {str(arm): missing for arm in chosen if (missing := never_reached(arm, causal))} == {}


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
            assert is_one_line(refusal)
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
