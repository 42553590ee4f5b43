"""Laws 4 and 9 on gate functions and attention: order within the heads, and gradients against finite differences."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwise.laws.arms import every_example
from headwise.laws.gates import HEADS, ONE, bias_order, gradients, in_order, order, scale
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.routing import mixtures
from headwise.routing.attention import RoutedAttention
from headwise.routing.gates import GateFunction, Gumbel, Sigmoid, Soft, TopK
from headwise.routing.mixtures import Adaptive, ReLU, SharedRouted, TopP, preceding

from .arms import SHAPE

FUNCTIONS = [
    *every_example("gate"),
    TopK(3),
    TopK(3, renormalise=True),
    SharedRouted(1, 2),
    SharedRouted(2, 2, training="soft"),
]
FUNCTIONS += [TopP(0.7, shared=1, renormalise=True), Adaptive(2, 3, sharpness=5.5, shared=1, renormalise=True)]
RANKING = [gate for gate in FUNCTIONS if gate.selects and not gate.noisy]
SOFTENED = [
    SharedRouted(2, 2, training="soft"),
    TopP(training="soft"),
    TopP(0.7, fallback=0.3, shared=1, training="soft"),
    Adaptive(training="soft"),
    Adaptive(2, 3, sharpness=5.5, shared=1, training="soft"),
]
LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=HEADS + 5, max_size=HEADS + 5).map(
    lambda values: torch.tensor(values, dtype=torch.float64)[None, None]
)


def fitting(gate: GateFunction, numbers: torch.Tensor) -> torch.Tensor:
    """As many of `numbers` as the gate function takes for five heads."""
    return numbers[..., : sum(gate.columns(HEADS).values())]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("gate", FUNCTIONS, ids=str)
@settings(max_examples=40, deadline=None)
@given(numbers=LOGITS)
def test_a_larger_score_never_gets_a_smaller_gate(gate: GateFunction, training: bool, numbers: torch.Tensor) -> None:
    assert order(gate, fitting(gate, numbers), training) == []


@pytest.mark.parametrize("gate", RANKING, ids=str)
@settings(max_examples=40, deadline=None)
@given(numbers=LOGITS)
def test_a_bias_decides_which_heads_are_on_and_not_how_much_they_weigh(
    gate: GateFunction, numbers: torch.Tensor
) -> None:
    """Nothing is on while a head of a larger ranking score is off; among those that are on the larger logit wins."""
    assert bias_order(gate, fitting(gate, numbers)) == []


def published_soft_top_p(probs: torch.Tensor, theta: float, sharpness: float) -> torch.Tensor:
    """The factor of the adaptive model whose authors could not make it train: inclusive sum, wrong sign."""
    return ((probs.cumsum(-1) - theta) * sharpness).sigmoid()


def test_the_soft_top_p_has_the_right_sign_and_the_published_one_breaks_the_order() -> None:
    """Reference, heads.md: p = .5/.3/.15/.05, theta .55, s 5.5."""
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    published = published_soft_top_p(probs, 0.55, 5.5)
    assert published.tolist() == pytest.approx([0.43, 0.80, 0.90, 0.92], abs=5e-3)
    assert not in_order(published, probs)
    right = TopP(0.55, training="soft", sharpness=5.5)(probs.log()[None, None], ONE, None, True)
    factor = right.weight.flatten() / (4 * probs)
    assert factor.tolist() == pytest.approx([0.95, 0.57, 0.20, 0.10], abs=5e-3)
    assert in_order(factor, probs)
    # The same p from an adaptive router whose predictors stand at zero: theta .55, s 5.5, and a budget out of the way.
    numbers = torch.cat([probs.log(), torch.tensor([0.0, 50.0, 0.0])])[None, None]
    adaptive = Adaptive(training="soft")(numbers, ONE, None, True)
    within = ((4 - torch.arange(4) - 0.5) * 5.5).sigmoid()
    torch.testing.assert_close(adaptive.weight.flatten(), 4 * probs * factor * within)
    assert adaptive.predicted["threshold"].item() == pytest.approx(0.55)
    assert adaptive.predicted["sharpness"].item() == pytest.approx(5.5)


def test_planted_published_soft_form_fails_the_law_of_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def inclusive(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        before, rank = preceding(scores)
        return 2 * 0.55 - (before + scores.softmax(-1)), rank  # theta - this is (inclusive C - theta)

    numbers = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()[None, None]
    gate = TopP(0.55, training="soft")
    assert in_order(gate(numbers, ONE, None, True).weight, numbers)
    monkeypatch.setattr(mixtures, "preceding", inclusive)
    weight = gate(numbers, ONE, None, True).weight
    assert not in_order(weight / numbers.exp(), numbers), "the worst heads are the most open"
    assert not in_order(gate(numbers * 0.3, ONE, None, True).weight, numbers)


@pytest.mark.parametrize("gate", FUNCTIONS, ids=str)
@settings(max_examples=40, deadline=None)
@given(numbers=LOGITS, temperature=st.floats(0.3, 3))
def test_gates_are_finite_exactly_zero_where_off_and_of_fixed_scale(
    gate: GateFunction, numbers: torch.Tensor, temperature: float
) -> None:
    numbers = fitting(gate, numbers)
    assert scale(gate, numbers, temperature) == []
    gates = gate(numbers, torch.tensor(temperature, dtype=torch.float64), None, False)
    shared = getattr(gate, "shared", 0)
    if not gate.varies:
        assert gates.active.sum() == shared + getattr(gate, "k", HEADS)
    if isinstance(gate, (Soft, SharedRouted)) or getattr(gate, "renormalise", False):
        total = gates.weight.sum().item()
        balance = 2 * gates.predicted["shared_share"].item() if isinstance(gate, SharedRouted) else 1
        on = gates.active.sum().item() - shared
        assert total == pytest.approx(shared * balance + on * (2 - balance), abs=1e-9)


@pytest.mark.parametrize("gate", FUNCTIONS, ids=str)
def test_the_gradient_of_a_gate_function_is_its_own_or_that_of_its_surrogate(gate: GateFunction) -> None:
    assert gradients(gate) == []
    assert gate.surrogate() is not None or isinstance(gate, SharedRouted), "MoH's has a test of its own below"


@pytest.mark.parametrize("gate", [Soft(), Sigmoid(), ReLU(), *SOFTENED], ids=str)
def test_differentiable_gates_agree_with_finite_differences(gate: GateFunction) -> None:
    numbers = torch.randn(2, 3, sum(gate.columns(HEADS).values()), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: gate(z, ONE * 0.7, None, True).weight, numbers)
    if (
        gate.varies
        and gate.selects
        and getattr(gate, "sharpness", 0) != "learned"
        and getattr(gate, "fallback", None) is None
    ):
        assert torch.autograd.gradcheck(lambda z: gate(z, ONE * 0.7, None, True).expected, numbers)


@pytest.mark.parametrize("gate", [TopK(2), TopK(2, renormalise=True), Gumbel(2)], ids=str)
def test_straight_through_gates_have_the_gradient_of_their_soft_form(gate: GateFunction) -> None:
    """The surrogate is H·softmax, which passes gradcheck above; heads that are off get its gradient too."""
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(2, 3, 5, dtype=torch.float64)
    (actual,) = torch.autograd.grad((gate(logits, ONE, None, False).weight * probe).sum(), logits)
    (expected,) = torch.autograd.grad((Soft()(logits, ONE, None, False).weight * probe).sum(), logits)
    torch.testing.assert_close(actual, expected)
    off = ~gate(logits, ONE, None, False).active
    assert (actual[off] != 0).all()


@pytest.mark.parametrize("gate", [gate for gate in SOFTENED if gate.varies], ids=str)
def test_mixtures_trained_straight_through_have_the_gradient_of_their_soft_form(gate: GateFunction) -> None:
    numbers = torch.randn(2, 3, sum(gate.columns(HEADS).values()), dtype=torch.float64, requires_grad=True)
    probe = torch.randn(2, 3, HEADS, dtype=torch.float64)
    hard = replace(gate, training="straight_through")(numbers, ONE, None, True)
    soft = gate(numbers, ONE, None, True)
    (actual,) = torch.autograd.grad((hard.weight * probe).sum(), numbers)
    (expected,) = torch.autograd.grad((soft.weight * probe).sum(), numbers)
    torch.testing.assert_close(actual, expected)
    assert (actual != 0).all(), "every column is reached: threshold, complexity and sharpness too"
    torch.testing.assert_close(hard.weight, gate(numbers, ONE, None, False).weight)
    assert torch.equal(hard.active, soft.selected)


def test_the_gradient_of_moh_is_exact_in_its_balance_and_soft_in_its_choice() -> None:
    """d gate_i = 2·(da_2·w_i + a_2·dw_i) with w the published weights, whose gradient is taken as that of R·p."""
    gate = SharedRouted(1, 2)
    numbers = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(4, HEADS, dtype=torch.float64)
    (actual,) = torch.autograd.grad((gate(numbers[None], ONE, None, True).weight[0] * probe).sum(), numbers)
    probs, balance = numbers[:, :4].softmax(-1), 2 * numbers[:, 4:].softmax(-1)
    kept = torch.zeros_like(probs).scatter(-1, probs.topk(2).indices, 1.0) * probs
    published = (2 * kept / kept.sum(-1, keepdim=True)).detach()
    surrogate = balance[:, :1] * probe[:, :1]
    surrogate = surrogate + (balance[:, 1:] * published * probe[:, 1:]).sum(-1, keepdim=True)
    surrogate = surrogate + (balance[:, 1:].detach() * 4 * probs * probe[:, 1:]).sum(-1, keepdim=True)
    (expected,) = torch.autograd.grad(surrogate.sum(), numbers)
    torch.testing.assert_close(actual, expected)


def test_moh_gates_are_the_published_ones() -> None:
    """routed 2·a2·k·p_i/sum(p over chosen), shared 2·a1·S·softmax_s, by hand for two shared and three routed heads."""
    p, s, (a1, a2) = [0.5, 0.3, 0.2], [0.25, 0.75], (0.4, 0.6)
    numbers = torch.tensor([*p, *s, a1, a2], dtype=torch.float64).log()[None, None]
    weight = SharedRouted(2, 2)(numbers, ONE, None, False).weight.flatten().tolist()
    expected = [2 * a1 * 2 * s[0], 2 * a1 * 2 * s[1], 2 * a2 * 2 * 0.5 / 0.8, 2 * a2 * 2 * 0.3 / 0.8, 0]
    assert weight == pytest.approx(expected)
    assert sum(weight[:2]) / 2 + sum(weight[2:4]) / 2 == pytest.approx(2), "the means of the groups sum to 2"


def test_the_soft_forms_become_the_hard_rule_as_they_sharpen() -> None:
    torch.manual_seed(0)
    for hard in (TopP(0.6), TopP(0.6, shared=2), Adaptive(sharpness=1.0), Adaptive(1, 3, sharpness=1.0)):
        numbers = torch.randn(50, 4, sum(hard.columns(HEADS).values()), dtype=torch.float64)
        sharp = replace(hard, training="soft", sharpness=1e7)
        limit, rule = sharp(numbers, ONE, None, True), sharp(numbers, ONE, None, False)
        torch.testing.assert_close(limit.weight, rule.weight, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(limit.expected, rule.active.sum(-1).double())
        assert torch.equal(rule.active, hard(numbers, ONE, None, False).active)


def test_top_p_keeps_the_head_that_crosses_the_threshold_and_at_least_one() -> None:
    numbers = torch.tensor([[[0.15, 0.5, 0.05, 0.3]]], dtype=torch.float64).log()
    on = [TopP(theta)(numbers, ONE, None, False).active.flatten().tolist() for theta in (0.01, 0.5, 0.55, 0.8, 0.96)]
    best, two, all_four = [False, True, False, False], [False, True, False, True], [True] * 4
    assert on[0] == best
    assert on[2] == two
    assert on[4] == all_four
    surely = TopP(0.01, fallback=0.4)(numbers, ONE, None, False)
    unsure = TopP(0.01, fallback=0.6)(numbers, ONE, None, False)
    assert surely.active.flatten().tolist() == best
    assert unsure.active.all()
    assert unsure.expected.item() == 4


def test_the_adaptive_gate_keeps_to_its_predicted_budget() -> None:
    """At zero: theta .55 and a budget of 1 + (8 - 1) / 2 = 4.5 of eight even heads; ranks 0..3 are below it."""
    gates = Adaptive()(torch.zeros(1, 1, 11), ONE.float(), None, False)
    assert gates.active.sum() == 4
    assert gates.budget.item() == pytest.approx(4.5)
    wide = torch.zeros(1, 1, 11)
    wide[..., 9] = 50.0  # budget 8: now the threshold decides, and 0.5 = 4 · 1/8 is still below 0.55
    assert Adaptive()(wide, ONE.float(), None, False).active.sum() == 5
    assert Adaptive(1, 2)(wide, ONE.float(), None, False).active.sum() == 2


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
