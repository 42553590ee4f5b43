"""Laws 4 and 9 on gate functions and attention: order within the heads, and gradients against finite differences."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.routing.attention import RoutedAttention
from headwise.routing.gates import GATES, Gumbel, Sigmoid, Soft, TopK

from .arms import SHAPE

ONE = torch.tensor(1.0, dtype=torch.float64)
LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=9).map(
    lambda values: torch.tensor(values, dtype=torch.float64)[None, None]
)
FUNCTIONS = [Soft(), TopK(3), TopK(3, renormalise=True), Gumbel(2), Sigmoid()]
assert {type(gate) for gate in FUNCTIONS} == set(GATES.values()), "a new gate function enters these laws"


def in_order(gate: object, logits: torch.Tensor) -> bool:
    weight, score = gate(logits, ONE, None, False).weight.flatten(), logits.flatten()
    larger = score[:, None] > score[None, :]
    smaller_gate = weight[:, None] < weight[None, :] - 1e-12
    return not bool((larger & smaller_gate).any())


@pytest.mark.parametrize("gate", FUNCTIONS, ids=str)
@settings(max_examples=60, deadline=None)
@given(logits=LOGITS)
def test_a_larger_score_never_gets_a_smaller_gate(gate: object, logits: torch.Tensor) -> None:
    assert in_order(gate, logits)


def test_planted_inverted_gate_breaks_the_order() -> None:
    """The published soft form suppressed the best heads."""

    def inverted(logits: torch.Tensor, *_: object) -> SimpleNamespace:
        return SimpleNamespace(weight=(-logits).softmax(-1))

    assert not in_order(inverted, torch.tensor([[[1.0, 0.0, -1.0, 2.0]]], dtype=torch.float64))


@pytest.mark.parametrize("gate", FUNCTIONS, ids=str)
@settings(max_examples=40, deadline=None)
@given(logits=LOGITS, temperature=st.floats(0.3, 3))
def test_gates_are_finite_exactly_zero_where_off_and_of_fixed_scale(
    gate: object, logits: torch.Tensor, temperature: float
) -> None:
    gates = gate(logits, torch.tensor(temperature, dtype=torch.float64), None, False)
    assert gates.weight.isfinite().all()
    assert torch.equal(gates.weight[~gates.active], torch.zeros_like(gates.weight[~gates.active]))
    assert gates.active.sum() == getattr(gate, "k", logits.shape[-1])
    if isinstance(gate, Soft) or getattr(gate, "renormalise", False):
        mean = gates.weight[gates.active].mean().item()
        assert mean == pytest.approx(1, abs=1e-9)
    equal = gate(torch.full_like(logits, 0.0), ONE, None, False)
    assert torch.allclose(equal.weight[equal.active], ONE)


@pytest.mark.parametrize("gate", [Soft(), Sigmoid()], ids=str)
def test_differentiable_gates_agree_with_finite_differences(gate: object) -> None:
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: gate(z, ONE * 0.7, None, True).weight, logits)


@pytest.mark.parametrize("gate", [TopK(2), TopK(2, renormalise=True), Gumbel(2)], ids=str)
def test_straight_through_gates_have_the_gradient_of_their_soft_form(gate: object) -> None:
    """The surrogate is H·softmax, which passes gradcheck above; heads that are off get its gradient too."""
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(2, 3, 5, dtype=torch.float64)
    (actual,) = torch.autograd.grad((gate(logits, ONE, None, False).weight * probe).sum(), logits)
    (expected,) = torch.autograd.grad((Soft()(logits, ONE, None, False).weight * probe).sum(), logits)
    torch.testing.assert_close(actual, expected)
    off = ~gate(logits, ONE, None, False).active
    assert (actual[off] != 0).all()


def test_gumbel_noise_is_drawn_in_training_only_and_is_reproducible() -> None:
    logits = torch.zeros(4, 7, 8)
    gate, one = Gumbel(2), torch.tensor(1.0)
    noisy = [gate(logits, one, torch.Generator().manual_seed(5), True).active for _ in range(2)]
    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], gate(logits, one, torch.Generator().manual_seed(6), True).active)
    quiet = [gate(logits, one, torch.Generator().manual_seed(seed), False).weight for seed in (5, 6)]
    assert torch.equal(quiet[0], quiet[1])


def test_gumbel_top_1_samples_heads_by_their_probability() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log().expand(20000, 1, 3)
    active = Gumbel(1)(logits, torch.tensor(1.0), torch.Generator().manual_seed(0), True).active
    assert active.double().mean((0, 1)).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.015)


@pytest.mark.parametrize("combine", ["mask_concat", "mixture"])
def test_attention_agrees_with_finite_differences_in_gates_and_head_outputs(combine: str) -> None:
    torch.manual_seed(0)
    attention = RoutedAttention(4, 2, combine).double()
    heads = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    gates = torch.rand(1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention.combine, (heads, gates))


def test_loss_agrees_with_finite_differences_in_forced_gates() -> None:
    torch.manual_seed(0)
    backbone = Backbone(SHAPE, Arm()).double()
    x = torch.randn(1, 3, SHAPE.width, dtype=torch.float64)
    gates = [torch.rand(1, 3, SHAPE.heads, dtype=torch.float64, requires_grad=True) for _ in range(SHAPE.depth)]
    assert torch.autograd.gradcheck(lambda *g: backbone(x, gates=[g]).states.square().mean(), gates)


def test_planted_backward_that_ignores_the_gates_is_caught() -> None:
    """The defect behind the adaptive mixture's failure: forward masked, backward dense."""

    class Ignores(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, heads: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
            return heads * gates

        @staticmethod
        def backward(ctx: object, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
            return grad, None

    heads = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    gates = torch.rand(3, 2, dtype=torch.float64)
    assert not torch.autograd.gradcheck(lambda h: Ignores.apply(h, gates), heads, raise_exception=False)
