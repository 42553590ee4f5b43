"""Everything that is registered is covered by every law that concerns it, and one that breaks a law is found."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.laws import arms as walk
from headwise.laws.arms import PARTS, arms_with, every_example, fitted, part_of
from headwise.laws.gates import every
from headwise.laws.independence import batch_mates
from headwise.laws.reach import gradient_reach
from headwise.reasoning import CONTROLLERS, HALTING
from headwise.reasoning.controllers import Controller, ControllerConfig
from headwise.reasoning.halting import Entropy, EntropyHalting
from headwise.routing import GATES, ROUTERS
from headwise.routing.gates import Sigmoid
from headwise.routing.routers import Learned, LearnedRouter

from .arms import ARMS
from .test_order_and_gradients import FUNCTIONS


def test_every_example_of_every_registered_part_is_in_an_arm_that_the_laws_walk() -> None:
    for key in PARTS:
        seen = [part_of(fitted(arm), key) for arm in ARMS.values()]
        assert [example for example in every_example(key) if example not in seen] == []
    assert [gate for gate in every_example("gate") if gate not in FUNCTIONS] == []


def test_a_registered_part_that_no_law_can_see_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = type("Bare", (LearnedRouter,), {"examples": classmethod(lambda cls: [])})
    monkeypatch.setitem(ROUTERS._members, "bare", bare)
    walk.arms.cache_clear()
    with pytest.raises(InputError, match="router 'bare': has no examples, so no law covers it"):
        walk.arms()
    walk.arms.cache_clear()


def test_a_registered_part_that_is_refused_in_every_arm_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = type("Endless", (ControllerConfig,), {"build": lambda self, *shape: None, "least_steps": 1000})
    monkeypatch.setitem(CONTROLLERS._members, "endless", endless)
    with pytest.raises(InputError, match=r"refused in every arm, so no law covers it; .* needs at least 1000 steps"):
        arms_with("controller")


@dataclass(frozen=True)
class OfTheBatch(LearnedRouter):
    """gates of a batch's mean token"""

    @classmethod
    def examples(cls) -> Sequence["OfTheBatch"]:
        return [cls("token")]

    def build(self, gate, width, heads, context=0, layer=0, balance=None):  # type: ignore[no-untyped-def]
        return MeanOfTheBatch(self, gate, width, heads, context)


class MeanOfTheBatch(Learned):
    def logits(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        return super().logits(x.mean(0, keepdim=True).expand_as(x), context, mask)


def test_a_registered_router_that_looks_at_the_batch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ROUTERS._members, "of_the_batch", OfTheBatch)
    (arm,) = arms_with("router", ["of_the_batch"]).values()
    assert any("depend on its batch" in line for line in batch_mates(arm, training=False))


@dataclass(frozen=True)
class Inverted(Sigmoid):
    """opens the worst heads"""

    def __call__(self, logits, temperature, generator, training, bias=None):  # type: ignore[no-untyped-def]
        return super().__call__(-logits, temperature, generator, training, bias)


def test_a_registered_gate_function_that_suppresses_the_best_heads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GATES._members, "inverted", Inverted)
    assert any("a larger score has a smaller gate" in line for line in every(every_example("gate")[-1]))


@dataclass(frozen=True)
class Frozen(ControllerConfig):
    """its only weight is behind a detach"""

    def build(self, width: int, heads: int, causal: bool = False) -> "Detached":
        return Detached(width)


class Detached(Controller):
    per_position = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.context_width, self.map = 3, nn.Linear(width, 3)

    def forward(self, hidden, mask, state, heads=None):  # type: ignore[no-untyped-def]
        return self.map(hidden).detach(), None, {}

    def macs(self, steps: float, segments: int) -> float:
        return steps * self.map.weight.numel()


def test_a_registered_controller_that_never_learns_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONTROLLERS._members, "frozen", Frozen)
    (arm,) = arms_with("controller", ["frozen"]).values()
    broken = gradient_reach(arm)
    assert {"no gradient reaches refiner.controller.map.weight"} < set(broken)


class MeanEntropy(Entropy):
    def forward(self, context, gates, mask):  # type: ignore[no-untyped-def]
        return super().forward(context, gates, mask).mean().round().expand(len(gates[0].weight))


@dataclass(frozen=True)
class BatchHalting(EntropyHalting):
    """stops the whole batch on its mean, as the original did"""

    @classmethod
    def examples(cls) -> Sequence["BatchHalting"]:
        return [cls(threshold) for threshold in torch.linspace(0.05, 0.95, 19).tolist()]

    def build(self, context: int, width: int) -> MeanEntropy:
        return MeanEntropy(self)


def test_a_registered_halting_policy_that_stops_the_whole_batch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HALTING._members, "batch", BatchHalting)
    found = [batch_mates(arm, training=False) for arm in arms_with("halting", ["batch"]).values()]
    assert any(line.startswith("steps") for broken in found for line in broken)
