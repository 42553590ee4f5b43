"""Law 6 for heads that are off: leaving them out is the masked form, in outputs and gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.routing import skipping, tiles
from headwise.routing.attention import RoutedAttention
from headwise.routing.gates import TopK
from headwise.routing.projections import Shape
from headwise.routing.reference import plain_attention
from headwise.routing.routers import LearnedRouter
from headwise.routing.whole_heads import attend_whole_heads

B, L, D, H = 4, 11, 16, 8
# Heads on for: everything alike; each example its own number of them, one none, one all; tokens with any number, none.
LAYER = torch.tensor([0, 1, 0, 0, 1, 1, 0, 0]).expand(B, 1, H)
SEQUENCE = torch.tensor(
    [[1, 0, 0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0, 0], [1] * 8, [1, 0, 0, 1, 0, 1, 1, 0]]
).unsqueeze(1)
SELECTIONS = ["layer", "sequence", "token", "nothing", "one_token"]


def selection(name: str) -> Tensor:
    if name == "layer":
        return LAYER
    if name == "sequence":
        return SEQUENCE
    on = torch.zeros(B, L, H, dtype=torch.long)
    if name == "token":
        on = (torch.rand(B, L, H, generator=torch.Generator().manual_seed(1)) < 0.4).long()
        on[:, :, 2] = 0  # a head that nobody uses
        on[1] = 0  # an example without any head
        on[0, 3:5] = 0  # tokens without any head
    if name == "one_token":
        on[2, 7, 3] = 1
    return on


def layer(kv_heads: int | None, combine: str, causal: bool, way: str = "always", **parts: Any) -> RoutedAttention:
    torch.manual_seed(0)
    attention = RoutedAttention(D, H, combine, causal=causal, kv_heads=kv_heads, skipping=way, **parts).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return attention


def masks(name: str) -> Tensor | None:
    if name == "padding":
        return torch.arange(L).expand(B, 1, 1, L) < torch.tensor([L, 4, 9, 1]).view(B, 1, 1, 1)
    if name == "structural":
        return (torch.rand(B, H, L, L) < 0.5) | torch.eye(L, dtype=torch.bool)
    return None


def same(form: Tensor, twin: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(form, twin)
    probe = torch.randn_like(twin)
    # Where no pair is on, what is left out is not even in the graph: a gradient of zeros.
    actual = torch.autograd.grad((form * probe).sum(), inputs, retain_graph=True, materialize_grads=True)
    expected = torch.autograd.grad((twin * probe).sum(), inputs, retain_graph=True)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("masking", ["none", "padding", "structural"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("combine", ["mask_concat", "mixture"])
@pytest.mark.parametrize("kv_heads", [None, 2])
@pytest.mark.parametrize("chosen", SELECTIONS)
def test_skipped_heads_equal_masked_heads(
    chosen: str, kv_heads: int | None, combine: str, causal: bool, masking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE", 3)  # several tiles to a head
    attention, mask, on = layer(kv_heads, combine, causal), masks(masking), selection(chosen)
    x = torch.randn(B, L, D, dtype=torch.float64, requires_grad=True)
    free = (torch.rand(on.shape, dtype=torch.float64) + 0.5).requires_grad_()
    gates = free * on  # hard: a head that is off has no gradient
    assert attention.plan(gates, x).kind == ("sequence" if chosen in ("layer", "sequence", "nothing") else "token")
    inputs = [x, free, *attention.parameters()]
    same(attention(x, gates, mask)[0], plain_attention(attention, x, gates, mask), inputs)
    every_token = gates.expand(B, L, H)  # each form of skipping is exact for each selection
    for form in (
        attend_whole_heads(attention.projections(), x, gates, mask),
        tiles.attend_pairs(
            attention.projections(), x, gates, mask, (attention.keys_values(x).keys, attention.keys_values(x).values)
        ),
    ):
        same(form, plain_attention(attention, x, every_token, mask), inputs)


PARTS = {
    "elementwise": {"output_gate": "elementwise"},
    "composed": {"composition_rank": 2},
    "both": {"output_gate": "elementwise", "composition_rank": 1},
}


@pytest.mark.parametrize("masking", ["none", "padding"])
@pytest.mark.parametrize(("causal", "kv_heads", "combine"), [(False, 2, "mixture"), (True, None, "mask_concat")])
@pytest.mark.parametrize("chosen", SELECTIONS)
@pytest.mark.parametrize("parts", PARTS)
def test_skipped_heads_of_gated_channels_and_composed_heads_equal_masked_heads(
    parts: str, chosen: str, causal: bool, kv_heads: int | None, combine: str, masking: str
) -> None:
    """Channels of heads that are off have no gates, and these heads lend nothing; the twin has all of them."""
    attention, mask, on = layer(kv_heads, combine, causal, **PARTS[parts]), masks(masking), selection(chosen)
    x = torch.randn(B, L, D, dtype=torch.float64, requires_grad=True)
    free = (torch.rand(on.shape, dtype=torch.float64) + 0.5).requires_grad_()
    by_token = parts == "elementwise" and chosen in ("token", "one_token")
    assert attention.plan(free * on, x).kind == ("token" if by_token else "sequence")
    inputs, plain = [x, free, *attention.parameters()], plain_attention(attention, x, free * on, mask)
    same(attention(x, free * on, mask)[0], plain, inputs)
    attention.skipping = "never"
    same(attention(x, free * on, mask)[0], plain, inputs)


def test_gates_of_composed_heads_that_are_off_get_no_gradient_where_they_are_skipped() -> None:
    """Whichever heads the other examples of the batch, or the other tokens, have on."""
    attention, on = layer(None, "mask_concat", False, composition_rank=2), selection("token").double()
    x, gates = torch.randn(B, L, D, dtype=torch.float64), on.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(attention(x, gates)[0].square().sum(), gates)
    assert (gradient[on == 0] == 0).all()
    assert (gradient[on == 1] != 0).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("parts", [{}, *PARTS.values()], ids=["plain", *PARTS])
def test_queries_after_a_past_skip_their_heads_too(parts: dict[str, Any], causal: bool) -> None:
    attention = layer(2, "mask_concat", causal, **parts)
    x, on = torch.randn(B, L, D, dtype=torch.float64), selection("token").double()
    past = attention.keys_values(x[:, :6])
    with torch.no_grad():
        whole, _ = attention(x, on)
        if causal:
            memory = attention.keys_values(x[:, 6:], past)
            later, _ = attention(x[:, 6:], on[:, 6:], None, memory)
            torch.testing.assert_close(later, whole[:, 6:])
        else:
            again, _ = attention(x, on, None, attention.keys_values(x))
            torch.testing.assert_close(again, whole)


def test_a_skipped_straight_through_gate_gets_no_gradient_and_auto_does_not_skip_it() -> None:
    """Its gradient is the output of the head that is off, so a skipped head cannot teach the router."""
    x = torch.randn(2, 200, D, dtype=torch.float64)
    logits = torch.randn(2, 1, H, dtype=torch.float64, requires_grad=True)
    gates = TopK(2)(logits, torch.tensor(1.0), None, True)
    gates.weight.retain_grad()
    for way, surrogate in (("auto", True), ("never", True), ("always", False)):
        attention = layer(None, "mask_concat", False, way)
        assert (attention.plan(gates.weight, x).kind == "dense") is surrogate
        (gradient,) = torch.autograd.grad(attention(x, gates.weight)[0].square().sum(), gates.weight, retain_graph=True)
        assert (gradient[~gates.active] != 0).all() == surrogate
        assert (gradient[gates.active] != 0).all()


def test_the_rule_skips_long_sequences_with_few_heads_and_not_short_ones_with_many() -> None:
    attention = RoutedAttention(512, 8, causal=True).eval()
    few, many = torch.zeros(2, 1, 8), torch.ones(2, 1, 8)
    few[..., :2], many[..., 0] = 1, 0
    assert attention.plan(few, torch.empty(2, 1024, 512)).kind == "sequence"
    assert attention.plan(few, torch.empty(2, 1, 512)).kind == "dense"
    assert attention.plan(torch.ones(2, 1, 8), torch.empty(2, 1024, 512)).kind == "dense"
    tokens = torch.zeros(2, 1024, 8).scatter(-1, torch.rand(2, 1024, 8).topk(2).indices, 1)
    assert attention.plan(tokens, torch.empty(2, 1024, 512)).kind == "token"
    assert attention.plan(tokens[:, :16], torch.empty(2, 16, 512)).kind == "dense"
    most = (torch.rand(2, 1024, 8) < 0.9).float()
    assert attention.plan(most, torch.empty(2, 1024, 512)).kind == "dense"
    half = torch.zeros(2, 1024, 8).scatter(-1, torch.rand(2, 1024, 8).topk(4).indices, 1)
    assert attention.plan(half, torch.empty(2, 1024, 512)).kind == "dense"
    assert attention.plan(many.requires_grad_(), torch.empty(2, 4096, 512)).kind == "dense"


def test_a_small_layer_is_dense_without_a_look_at_its_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look would be a share of its time that is felt."""
    attention, gates = RoutedAttention(64, 8), torch.ones(8, 1, 8)
    gates[..., 1:] = 0
    monkeypatch.setattr(Tensor, "item", lambda self: pytest.fail("the gates were read"))
    assert attention.plan(gates, torch.empty(8, 20, 64)).kind == "dense"


def test_on_cuda_the_rule_takes_whole_heads_of_large_layers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision, not the speed: x is on a device without data, under the numbers of CUDA."""
    monkeypatch.setitem(skipping.PRICES, "meta", skipping.PRICES["cuda"])
    shape, large = Shape(1024, 16, 16, "mask_concat", True), torch.empty(32, 2048, 1024, device="meta")
    layer, tokens = torch.zeros(32, 1, 16), torch.zeros(32, 2048, 16)
    layer[..., :8] = 1
    tokens[..., 0] = 1  # the first head always, each other one at some token
    tokens[:, torch.arange(16), torch.arange(16)] = 1
    assert skipping.choose(shape, "auto", layer, large).kind == "sequence"
    assert skipping.choose(shape, "auto", layer.requires_grad_(), large).kind == "dense"
    assert skipping.choose(shape, "auto", tokens, large).kind == "dense"
    monkeypatch.setattr(Tensor, "item", lambda self: pytest.fail("the host waited for the device"))
    assert skipping.choose(shape, "auto", layer.detach()[:1], large[:1]).kind == "dense"
    monkeypatch.delitem(skipping.PRICES, "meta")
    assert skipping.choose(shape, "auto", layer.detach(), large).kind == "dense"  # a device without numbers


@pytest.mark.parametrize("chosen", ["layer", "sequence", "token"])
@pytest.mark.parametrize("kv_heads", [None, 2])
@pytest.mark.parametrize("combine", ["mask_concat", "mixture"])
@pytest.mark.parametrize("parts", [{}, *PARTS.values()], ids=["plain", *PARTS])
def test_heads_executed_and_multiply_accumulates_are_what_torch_counts(
    chosen: str, kv_heads: int | None, combine: str, parts: dict[str, Any]
) -> None:
    attention, on = layer(kv_heads, combine, False, **parts), selection(chosen).double()
    x = torch.randn(B, L, D, dtype=torch.float64)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        attention(x, on)
    plan = attention.plan(on, x)
    assert counter.get_total_flops() == pytest.approx(2 * plan.macs, rel=1e-9)
    # Composed heads are skipped where no token of the example has them on.
    executed = on.amax(1).sum(-1) if attention.composition else on.mean(1).sum(-1)
    torch.testing.assert_close(plan.heads_executed, executed.expand(B), check_dtype=False)
    assert attention.plan(torch.ones_like(on), x).heads_executed.tolist() == [H] * B


def test_planted_wrong_group_of_keys_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under grouped queries the keys of a head that is on are those of its group, not those of its place among them."""
    attention, x = layer(4, "mask_concat", False), torch.randn(B, L, D, dtype=torch.float64)
    gates = SEQUENCE.double()
    plain = plain_attention(attention, x, gates)
    torch.testing.assert_close(attend_whole_heads(attention.projections(), x, gates, None), plain)
    monkeypatch.setattr(torch, "searchsorted", lambda groups, heads: torch.arange(len(heads)) % len(groups))
    assert not torch.allclose(attend_whole_heads(attention.projections(), x, gates, None), plain)


def test_grouped_queries_with_equal_groups_are_multi_head_attention() -> None:
    """Two heads that share keys and values are two heads with equal rows for them."""
    few, full = layer(4, "mask_concat", True), layer(8, "mask_concat", True)
    e = D // H
    with torch.no_grad():
        query, key, value = few.projection.split([D, 4 * e, 4 * e])
        wide = [part.view(4, e, D).repeat_interleave(2, 0).flatten(0, 1) for part in (key, value)]
        full.projection.copy_(torch.cat([query, *wide]))
        full.value_bias.copy_(few.value_bias.view(4, e).repeat_interleave(2, 0).flatten())
        full.query_bias.copy_(few.query_bias)
        full.output.load_state_dict(few.output.state_dict())
        x = torch.randn(B, L, D, dtype=torch.float64)
        torch.testing.assert_close(few(x)[0], full(x)[0])
    assert few.keys_values(x).keys.shape == (B, 4, L, e)


def test_a_backbone_keeps_every_head_that_a_later_step_reads() -> None:
    """With skipping always, an arm whose controller or later steps read head outputs still computes them."""
    for name in ("reuse", "classical"):
        backbone = _looped(name)
        assert all(m.skipping == "never" for m in backbone.modules() if isinstance(m, RoutedAttention))
    backbone = Backbone(ModelConfig(width=16, heads=4, ffn=8, skipping="always"), Arm(LearnedRouter("token"), TopK(2)))
    other = Backbone(ModelConfig(width=16, heads=4, ffn=8, skipping="never"), backbone.arm)
    other.load_state_dict(backbone.state_dict())
    x = torch.randn(2, 6, 16)
    with torch.no_grad():
        torch.testing.assert_close(backbone.eval()(x).states, other.eval()(x).states)


def _looped(name: str) -> Backbone:
    from headwise.reasoning.controllers import ClassicalConfig
    from headwise.reasoning.refinement import RefinementConfig

    if name == "reuse":
        arm = Arm(LearnedRouter("token"), refinement=RefinementConfig(steps=2, injection="input", reuse="keys_values"))
    else:
        arm = Arm(LearnedRouter("token"), controller=ClassicalConfig(), refinement=RefinementConfig(steps=2))
    return Backbone(ModelConfig(width=16, heads=4, ffn=8, skipping="always"), arm)
