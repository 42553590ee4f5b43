"""Routers and diagnostics."""

import pytest
import torch

from headwise.routing.attention import RoutedAttention
from headwise.routing.diagnostics import gate_statistics, mean_gates
from headwise.routing.fixed_routers import RandomRouter, StaticRouter
from headwise.routing.gates import Gates, Sigmoid, Soft, TopK
from headwise.routing.routers import (
    LearnedRouter,
    NoRouter,
    normalised_entropy,
)


def test_the_static_router_keeps_its_k_heads_and_layers_differ() -> None:
    routers = [StaticRouter(k=3).build(Soft(), 8, 8, layer=layer) for layer in range(4)]
    sets = set()
    for router in routers:
        gates, _ = router(torch.randn(2, 5, 8))
        assert gates.weight.sum().item() == 2 * 3
        sets.add(tuple(gates.active[0, 0].tolist()))
    assert len(sets) > 1


def test_the_random_router_is_frozen_saved_and_drawn_from_its_seed() -> None:
    router = RandomRouter(seed=1).build(TopK(2), 8, 4)
    assert list(router.parameters()) == []
    assert "projection" in router.state_dict()
    again, other = (RandomRouter(seed=seed).build(TopK(2), 8, 4) for seed in (1, 2))
    assert torch.equal(router.projection, again.projection)
    assert not torch.equal(router.projection, other.projection)


def test_random_logits_have_the_scale_asked_for() -> None:
    router = RandomRouter(scale=2.0).build(Soft(), 256, 64)
    assert router.logits(torch.randn(50, 20, 256), None, None).std().item() == pytest.approx(2.0, rel=0.05)


def test_a_temperature_sharpens_and_is_no_parameter() -> None:
    """In the original the temperature became trainable by accident."""
    router = LearnedRouter().build(Soft(), 8, 4)
    torch.nn.init.normal_(router.of_input.weight)
    assert "temperature" not in dict(router.named_parameters())
    x = torch.randn(2, 5, 8)
    warm = normalised_entropy(router(x)[0].probs).mean()
    router.temperature.fill_(0.3)
    assert normalised_entropy(router(x)[0].probs).mean() < warm


def test_the_entropy_loss_carries_a_gradient() -> None:
    """In the original both regularisers were turned into floats."""
    router = LearnedRouter().build(Soft(), 8, 4)
    torch.nn.init.normal_(router.of_input.weight)
    router.reports_entropy = True
    _, losses = router(torch.randn(2, 5, 8))
    losses["entropy"].backward()
    assert router.of_input.weight.grad.norm() > 0


def test_entropy_leaves_padding_out() -> None:
    router = LearnedRouter().build(Soft(), 8, 4)
    torch.nn.init.normal_(router.of_input.weight)
    router.reports_entropy = True
    x = torch.randn(1, 6, 8)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    torch.testing.assert_close(router(x, None, mask)[1]["entropy"], router(x[:, :4])[1]["entropy"])


def test_a_sigmoid_gate_has_no_entropy() -> None:
    router = LearnedRouter().build(Sigmoid(), 8, 4)
    router.reports_entropy = True
    assert router(torch.randn(1, 2, 8))[1] == {}


def test_no_router_is_none() -> None:
    assert NoRouter().build(Soft(), 8, 4) is None


@pytest.mark.parametrize(
    ("router", "gate", "message"),
    [(StaticRouter(k=5), Soft(), "arm.router.k"), (LearnedRouter(), TopK(5), "arm.gate.k")],
)
def test_more_heads_than_there_are_is_refused(router: object, gate: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        router.build(gate, 8, 4)


def test_a_router_of_the_first_dimensions_does_not_see_the_others() -> None:
    torch.manual_seed(0)
    router = LearnedRouter(reads=3).build(Sigmoid(), 8, 4)
    assert [tuple(p.shape) for p in router.parameters()] == [(4, 3), (4,)]
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        assert (router(x)[0].weight == 1).all()  # at its start
        torch.nn.init.normal_(router.of_input.weight)
        gates, others, first = router(x)[0].weight, x.clone(), x.clone()
        others[..., 3:] += 1
        first[..., 2] += 1
        assert torch.equal(router(others)[0].weight, gates)
        assert (router(first)[0].weight != gates).all()
        torch.testing.assert_close(gates, 2 * torch.sigmoid(x[..., :3] @ router.of_input.weight.T))
    assert router.macs(5, 1) == 5 * 3 * 4


def test_a_router_of_a_narrow_input_reads_all_of_it() -> None:
    """A search for a size passes shapes that a run would be refused with."""
    shapes = {LearnedRouter(reads=reads).build(TopK(2), 8, 4).of_input.weight.shape for reads in (None, 8, 9)}
    assert shapes == {(4, 8)}
    with pytest.raises(ValueError, match="reads=0: choose at least 1"):
        LearnedRouter(reads=0)


def gates_of(probs: list[list[float]]) -> Gates:
    tensor = torch.tensor([probs])
    return Gates(tensor * tensor.shape[-1], tensor > 0, tensor)


def test_statistics_of_known_gates() -> None:
    one_hot, even = [1.0, 0, 0, 0], [0.25] * 4
    stats = gate_statistics([gates_of([one_hot, even])])
    assert stats["entropy_mean"] == pytest.approx(0.5)
    assert stats["entropy_std"] == pytest.approx(0.5)
    assert stats["herfindahl"] == pytest.approx((1 + 0.25) / 2)
    assert stats["top1_share"] == pytest.approx((1 + 0.25) / 2)
    assert (stats["heads_active_min"], stats["heads_active_mean"], stats["heads_active_max"]) == (1, 2.5, 4)
    assert stats["dead_heads"] == 0
    assert gate_statistics([gates_of([one_hot])])["dead_heads"] == 3
    assert gate_statistics([]) == {}


def test_statistics_describe_the_gates_after_selection() -> None:
    """An undecided router, entropy 1, of which a rule keeps 2 of 8 heads with unequal gates; the others are dead."""
    weight = torch.tensor([[[3.0, 1.0, 0, 0, 0, 0, 0, 0]]])
    stats = gate_statistics([Gates(weight, weight != 0, torch.full((1, 1, 8), 1 / 8))])
    assert stats["entropy_mean"] == pytest.approx(1.0)
    # Shares 3/4 and 1/4: exp(-(3/4 ln 3/4 + 1/4 ln 1/4)) = 4 / 3^(3/4)
    assert stats["effective_heads_mean"] == pytest.approx(4 / 3**0.75)
    assert stats["herfindahl"] == pytest.approx(9 / 16 + 1 / 16)
    assert stats["top1_share"] == pytest.approx(0.75)
    assert (stats["heads_active_mean"], stats["dead_heads"]) == (2, 6)
    assert "shared_weight" not in stats


def test_a_mixture_whose_shared_head_carries_nearly_all_does_not_look_healthy() -> None:
    weight = torch.tensor([[[1.86, 0.04, 0.07, 0.10]]])
    stats = gate_statistics([Gates(weight, weight != 0, torch.full((1, 1, 3), 1 / 3))])
    assert stats["shared_heads"] == 1
    assert stats["shared_weight"] == pytest.approx(1.86 / 2.07)
    assert stats["effective_heads_mean"] < 1.6


def test_a_token_without_any_head_has_no_effective_one() -> None:
    nothing = torch.zeros(1, 1, 4)
    assert gate_statistics([Gates(nothing, nothing != 0, torch.full((1, 1, 4), 1 / 4))])["effective_heads_mean"] == 0


def test_statistics_leave_padding_out() -> None:
    gates = gates_of([[1.0, 0, 0, 0], [0.25] * 4])
    mask = torch.tensor([[True, False]])
    assert gate_statistics([gates], mask) == pytest.approx(gate_statistics([gates_of([[1.0, 0, 0, 0]])]))
    assert mean_gates(gates, mask) == pytest.approx([4, 0, 0, 0])


@pytest.mark.parametrize("values", [{"heads": 3}, {"heads": 0}, {"combine": "sum"}])
def test_impossible_attention_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="choose"):
        RoutedAttention(**{"width": 8, "heads": 2, **values})
