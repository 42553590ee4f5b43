"""Balance losses against sums by hand, the ranking bias, and budgets that are met."""

import math
from itertools import pairwise

import pytest
import torch

from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.routing.balance import (
    BalanceConfig,
    budget_loss,
    complexity_loss,
    head_loads,
    load_balance_loss,
    router_z_loss,
    sparsity_loss,
    steer,
)
from headwise.routing.gates import GateFunction, Gates, TopK
from headwise.routing.mixtures import Adaptive, ReLU, SharedRouted, TopP
from headwise.routing.routers import LearnedRouter

ONE = torch.tensor(1.0)


def test_the_load_balance_loss_of_even_use_is_k_and_of_the_same_heads_for_all_is_more() -> None:
    """R·sum P_i f_i; for k of R heads used by everyone with all probability: R·(k · 1/k · 1) = R."""
    even = torch.eye(4)[None] * 1e-3  # token i prefers head i ever so slightly
    assert load_balance_loss(TopK(1)(even, ONE, None, True), None).item() == pytest.approx(1, abs=1e-3)
    rolled = even + even.roll(1, -1) * 0.5
    assert load_balance_loss(TopK(2)(rolled, ONE, None, True), None).item() == pytest.approx(2, abs=1e-3)
    collapsed = torch.tensor([20.0, 20.0, -20.0, -20.0]).expand(1, 4, 4)
    assert load_balance_loss(TopK(2)(collapsed, ONE, None, True), None).item() == pytest.approx(4)


def test_the_load_balance_loss_pulls_probability_away_from_the_head_that_is_used_most() -> None:
    logits = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.0]]], requires_grad=True)
    load_balance_loss(TopK(1)(logits, ONE, None, True), None).backward()
    assert logits.grad.sum((0, 1))[0] > 0
    assert logits.grad.sum((0, 1))[2] < 0


def test_shared_heads_are_no_part_of_the_balance() -> None:
    numbers = torch.randn(2, 5, 4 + 2)
    gates = SharedRouted(1, 2)(numbers, ONE, None, True)
    assert head_loads(gates, None)[0] == 1
    probs, on = numbers[..., :4].softmax(-1), gates.active[..., 1:].float()
    expected = 4 * (probs.mean((0, 1)) * on.mean((0, 1))).sum()
    torch.testing.assert_close(load_balance_loss(gates, None), expected)


def test_a_softly_trained_gate_is_balanced_by_the_heads_that_it_will_use() -> None:
    numbers = torch.randn(2, 5, 7)
    soft, hard = Adaptive(training="soft"), Adaptive()
    loads = head_loads(hard(numbers, ONE, None, False), None)
    assert 0 < loads.sum() < 4
    torch.testing.assert_close(head_loads(soft(numbers, ONE, None, True), None), loads)
    assert soft(numbers, ONE, None, True).active.all(), "in training they are all computed, and say so"


def test_padding_counts_in_no_loss_and_no_load() -> None:
    numbers = torch.randn(2, 6, 7)
    mask = torch.ones(2, 6, dtype=torch.bool)
    mask[:, 4:] = False
    whole, cut = (Adaptive()(part, ONE, None, True) for part in (numbers, numbers[:, :4]))
    for loss in (load_balance_loss, complexity_loss, sparsity_loss, head_loads):
        torch.testing.assert_close(loss(whole, mask), loss(cut, None))
    torch.testing.assert_close(router_z_loss(numbers, mask), router_z_loss(numbers[:, :4], None))


def test_the_z_loss_is_the_squared_log_of_the_partition_sum() -> None:
    assert router_z_loss(torch.zeros(2, 3, 8), None).item() == pytest.approx(math.log(8) ** 2)


def test_the_complexity_loss_is_not_zero_by_construction() -> None:
    """The published one compared a sum of soft gates with itself. At zero: 4.5 budgeted, the threshold allows fewer."""
    numbers = torch.zeros(1, 1, 11, requires_grad=True)
    gates = Adaptive()(numbers, ONE, None, True)
    loss = complexity_loss(gates, None)
    before = torch.arange(8) / 8
    factors = ((0.55 - before) * 5.5).sigmoid() * ((4.5 - torch.arange(8) - 0.5) * 5.5).sigmoid()
    assert loss.item() == pytest.approx(abs(factors.sum().item() - 4.5), abs=1e-5)
    assert loss.item() > 0.5
    loss.backward()
    threshold, complexity, sharpness = numbers.grad[0, 0, 8:]
    assert threshold != 0
    assert complexity != 0
    assert sharpness == 0, "a count is not met by counting more softly"
    assert sparsity_loss(gates, None).item() == pytest.approx(factors.sum().item() / 8, abs=1e-6)


def test_the_budget_loss_closes_heads_above_the_target_and_opens_them_below() -> None:
    for target, direction in ((2.0, 1), (7.0, -1)):
        numbers = torch.zeros(1, 1, 11, requires_grad=True)
        gates = Adaptive()(numbers, ONE, None, True)  # four heads active
        budget_loss(BalanceConfig(target=target), torch.tensor(0.0), gates, None).backward()
        assert (numbers.grad[0, 0, 8:10].sign() == direction).all()


def test_a_relu_head_that_is_off_hears_the_budget() -> None:
    logits = torch.full((1, 1, 4), -1.5, requires_grad=True)
    gates = ReLU()(logits, ONE, None, True)
    assert not gates.active.any()
    budget_loss(BalanceConfig(target=2), torch.tensor(0.0), gates, None).backward()
    assert (logits.grad < 0).all()


def test_the_bias_rises_for_heads_used_less_than_the_mean_and_falls_for_the_others() -> None:
    config = BalanceConfig(bias_rate=0.001)
    router = LearnedRouter().build(SharedRouted(1, 2), 8, 5, balance=config)
    steer([router], torch.tensor([[1.0, 0.9, 0.5, 0.1, 0.5]]), config)
    assert router.ranking_bias.tolist() == pytest.approx([-0.001, 0, 0.001, 0])


def test_the_bias_brings_a_neglected_head_back() -> None:
    """Four heads, one of which a frozen router never ranks among its two best."""
    torch.manual_seed(0)
    config = BalanceConfig(bias_rate=0.05)
    router = LearnedRouter().build(TopK(2), 8, 4, balance=config)
    with torch.no_grad():
        router.of_input.weight.normal_(std=0.3)
        router.of_input.bias.copy_(torch.tensor([2.0, 1.0, 0.0, -3.0]))
    x = torch.randn(16, 20, 8)
    before = head_loads(router(x)[0], None)
    for _ in range(150):
        steer([router], head_loads(router(x)[0], None)[None], config)
    after = head_loads(router(x)[0], None)
    assert before[3] < 0.05
    assert after.tolist() == pytest.approx([0.5] * 4, abs=0.15)


def test_no_forward_pass_writes_a_buffer() -> None:
    config = BalanceConfig(("load_balance",), bias_rate=0.1, target=3)
    arm = Arm(router=LearnedRouter(), gate=TopP(), balance=config)
    backbone = Backbone(ModelConfig(8, 4, 8, 2), arm)
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    trace = backbone(torch.randn(3, 5, 8))
    assert all(torch.equal(buffer, before[name]) for name, buffer in backbone.named_buffers())
    assert trace.loads.shape == (2, 4)
    steer(backbone.routers(), trace.loads, config)
    assert not any(torch.equal(buffer, before[n]) for n, buffer in backbone.named_buffers() if "temperature" not in n)
    (trace.states.square().mean() + trace.losses["budget"]).backward()  # steering first does no harm
    assert backbone.eval()(torch.randn(3, 5, 8)).loads is None


@pytest.mark.parametrize(
    ("gate", "target"), [(Adaptive(), 2.5), (Adaptive(training="soft"), 2.5), (TopP(), 2.0), (ReLU(), 3.0)], ids=str
)
def test_a_budget_is_met(gate: GateFunction, target: float) -> None:
    """Mean active heads of eight, at evaluation, on a task of which the number of heads is no part."""
    torch.manual_seed(0)
    config = BalanceConfig(target=target)
    backbone = Backbone(ModelConfig(16, 8, 16, 1), Arm(router=LearnedRouter(), gate=gate, balance=config))
    optimiser = torch.optim.Adam(backbone.parameters(), lr=3e-3)
    mix = torch.randn(16, 16) / 4
    for _ in range(250):
        x = torch.randn(8, 8, 16)
        trace = backbone(x)
        loss = (trace.states[-1] - x.cumsum(1) @ mix).square().mean() + trace.losses["budget"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steer(backbone.routers(), trace.loads, config)
    with torch.no_grad():
        gates = backbone.eval()(torch.randn(32, 8, 16), record=True).gates[0][0]
    assert gates.active.sum(-1).double().mean().item() == pytest.approx(target, abs=0.35)


def test_a_budget_over_the_model_lets_layers_differ_and_is_met_by_their_mean() -> None:
    """Two layers, the second of which is paid for every head that it has on."""
    torch.manual_seed(0)
    config = BalanceConfig(target=2, over="model")
    routers = [LearnedRouter("layer").build(ReLU(), 8, 4, layer=n, balance=config) for n in range(2)]
    optimiser = torch.optim.SGD([p for router in routers for p in router.parameters()], lr=0.05)
    for _ in range(400):
        (first, losses), (second, others) = (router(torch.zeros(1, 1, 8)) for router in routers)
        loss = losses["budget"] + others["budget"] - 0.05 * second.weight.sum() - 0.001 * first.weight.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steer(routers, [head_loads(first, None), head_loads(second, None)], config)
    on = [int(router(torch.zeros(1, 1, 8))[0].active.sum()) for router in routers]
    assert sum(on) == pytest.approx(4, abs=1)
    assert on[1] > on[0]


def test_over_the_model_every_layer_gets_the_distance_of_the_mean() -> None:
    config = BalanceConfig(target=2, over="model", target_rate=0.5)
    routers = [LearnedRouter().build(ReLU(), 8, 4, balance=config) for _ in range(2)]
    steer(routers, torch.tensor([[1.0, 1, 1, 1], [1, 0, 0, 0]]), config)  # 2.5 on average, 0.5 of 4 too many
    for router in routers:
        assert router.off_target.item() == pytest.approx(0.125)
        assert router.multiplier.item() == pytest.approx(0.0625)
    with pytest.raises(ValueError, match="over=model: has an effect only with a target"):
        BalanceConfig(over="model")


@pytest.mark.parametrize(
    ("gate", "target", "allowed"),
    [
        (TopP(shared=2), 2.0, "3..8"),
        (TopP(), 9.0, "1..8"),
        (Adaptive(2, 4, shared=1), 2.0, "3..5"),
        (ReLU(), 8.5, "0..8"),
    ],
)
def test_a_target_out_of_reach_is_refused(gate: GateFunction, target: float, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"target={target:g} .*choose {allowed} \(arm\.balance\.target\)") as error:
        LearnedRouter().build(gate, 16, 8, balance=BalanceConfig(target=target))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [{"bias_rate": -1}, {"target_rate": 0}, {"target_gain": -1}, {"target": 0}])
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="choose"):
        BalanceConfig(**values)


def test_predictor_norms_grow_with_what_they_are_about() -> None:
    router = LearnedRouter().build(Adaptive(), 8, 4, context=3)
    assert router.predictor_norms() == dict.fromkeys(("heads", "threshold", "complexity", "sharpness"), 0.0)
    with torch.no_grad():
        router.of_input.weight[4] = 3 / 8**0.5
        router.of_context.bias[4] = 4
    norms = router.predictor_norms()
    assert norms["threshold"] == pytest.approx(5)
    assert norms["heads"] == norms["complexity"] == 0


def test_parameters_are_made_for_what_is_predicted_only() -> None:
    gates = [TopP(0.5), TopP(), Adaptive(sharpness=5.0), Adaptive()]
    widths = [sum(gate.columns(8).values()) for gate in gates]
    assert [b - a for a, b in pairwise(widths)] == [1, 1, 1]
    assert widths[0] == 8
    assert SharedRouted(1, 2).columns(8) == {"heads": 7, "balance": 2}, "a softmax over one shared head is constant"
    assert SharedRouted(2, 2).columns(8) == {"heads": 6, "shared": 2, "balance": 2}


def test_gates_keep_all_their_parts_in_rows_and_in_place() -> None:
    numbers = torch.randn(5, 3, 7)
    gates = Adaptive(training="soft")(numbers, ONE, None, True)
    index = torch.tensor([4, 1])
    some = gates.rows(index)
    other = Adaptive(training="soft")(torch.randn(5, 3, 7), ONE, None, True)
    placed: Gates = some.placed(index, other)
    for name in ("weight", "active", "probs", "chosen", "expected", "budget"):
        assert torch.equal(getattr(placed, name)[index], getattr(gates, name)[index])
        assert torch.equal(getattr(placed, name)[[0, 2, 3]], getattr(other, name)[[0, 2, 3]])
    assert torch.equal(placed.predicted["sharpness"][index], gates.predicted["sharpness"][index])
    assert not placed.rows(index).detach().weight.requires_grad


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (TopP(shared=3), r"shared=3 leaves 1 of 4 heads .*choose up to 2 .*arm\.gate\.shared"),
        (SharedRouted(1, 4), r"k=4 but 3 of the block's 4 heads are routed; choose 1\.\.3 \(arm\.gate\.k\)"),
        (Adaptive(maximum=5), r"maximum=5 but 4 heads are routed; choose 1\.\.4 \(arm\.gate\.maximum\)"),
        (Adaptive(minimum=4), r"minimum=4.*arm\.gate\.minimum"),
    ],
)
def test_gates_that_do_not_fit_the_heads_are_refused(gate: GateFunction, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gate.validate(4)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (SharedRouted, {"shared": 0}),
        (SharedRouted, {"k": 0}),
        (TopP, {"threshold": 1.5}),
        (TopP, {"fallback": 1.0}),
        (TopP, {"sharpness": 0.0}),
        (TopP, {"shared": -1}),
        (Adaptive, {"minimum": 0.5}),
        (Adaptive, {"minimum": 3.0, "maximum": 3.0}),
        (Adaptive, {"sharpness": -1.0}),
        (Adaptive, {"shared": -1}),
    ],
)
def test_impossible_gates_are_refused(kind: type, values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="choose"):
        kind(**values)
