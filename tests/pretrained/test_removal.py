"""Heads removed for good: a pruned model computes what the whole one does with those gates at 0."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headwise.models.arm import Arm
from headwise.pretrained.removal import prune, widened
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.pretrained.sites import Site, find_sites
from headwise.pretrained.usage import removable, used_heads
from headwise.routing.balance import BalanceConfig
from headwise.routing.gates import GateFunction, Sigmoid, Soft, TopK
from headwise.routing.mixtures import ReLU, SharedRouted, TopP
from headwise.routing.routers import LearnedRouter, NoRouter
from headwise.routing.unit_gates import Unit
from tests.pretrained.architectures import ARCHITECTURES, CAUSAL, inputs, output, tiny

pytest.importorskip("transformers", reason="the extra hf is not installed")
REFUSED = {
    "gpt_neox": "one fused projection \\(query_key_value\\)",
    "phi3": "one fused projection \\(qkv_proj\\)",
    "falcon": "one fused projection",
    "bloom": "one fused projection",
    "deepseek_v3": "compressed for all heads together \\(MLA\\)",
    "gpt_oss": "attention sinks",
    "t5": "share a position bias",
}
REMOVABLE = [name for name in ARCHITECTURES if name not in REFUSED]
GROUPED = [name for name in REMOVABLE if ARCHITECTURES[name][3].get("num_key_value_heads")]
WIDE = {"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2}
"""Two key/value groups of four query heads."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def halves(sites: list[Site], every: int) -> list[Tensor]:
    """The second half of the heads of each `every`-th layer goes: one key/value group of two."""
    keep = []
    for number, site in enumerate(sites):
        mask = torch.ones(site.heads, dtype=torch.bool)
        mask[site.heads // 2 :] = number % every != 0
        keep.append(mask)
    return keep


def forced_off(model: nn.Module, keep: list[Any], name: str, given: dict[str, Tensor]) -> Tensor:
    """What the whole model computes with the gates of the others at 0."""
    retrofitted = retrofit(model, Arm(router=NoRouter()))
    with torch.no_grad(), retrofitted.forced([torch.as_tensor(mask).double() for mask in keep]):
        found = output(model, name, given)
    retrofitted.remove()
    return found


def in_double(name: str, **settings: Any) -> tuple[Any, dict[str, Tensor]]:
    given = {key: value.double() if value.is_floating_point() else value for key, value in inputs(name).items()}
    return tiny(name, **settings).double(), given


@pytest.mark.parametrize("name", REMOVABLE)
@pytest.mark.parametrize("every", [1, 2])
def test_a_pruned_model_computes_what_the_whole_one_does_with_those_gates_at_zero(name: str, every: int) -> None:
    model, given = in_double(name)
    keep = halves(find_sites(model), every)
    ways = ("eager", "sdpa") if model._supports_sdpa else ("eager",)
    for attention, other in zip(ways, ways[::-1], strict=True):
        model.set_attn_implementation(attention)
        expected = forced_off(model, keep, name, given)
        pruned = copy.deepcopy(model)
        sites = prune(pruned, keep)
        assert [site.heads for site in sites] == [int(mask.sum()) for mask in keep]
        torch.testing.assert_close(output(pruned, name, given), expected, rtol=0, atol=1e-10)
        pruned.set_attn_implementation(other)  # it still reaches the layers
        torch.testing.assert_close(output(pruned, name, given), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in CAUSAL if name in REMOVABLE])
def test_a_pruned_model_generates_with_its_cache_what_it_generates_without(name: str) -> None:
    model, given = tiny(name), inputs(name, padded=True)
    prune(model, halves(find_sites(model), 2))
    settings: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False}
    with torch.no_grad():
        cached = model.generate(**given, **settings, use_cache=True)
        plain = model.generate(**given, **settings, use_cache=False)
    assert torch.equal(cached, plain)


@pytest.mark.parametrize("name", GROUPED)
def test_single_heads_of_a_group_go_by_copies_of_its_keys_and_values_or_not_at_all(name: str) -> None:
    model, given = in_double(name)
    keep = [[True, False, True, True], [True, True, True, True]]
    expected = forced_off(model, keep, name, given)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r'keep 1, 2 query heads.*by="heads"'):
        prune(model, keep)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    sites = prune(model, keep, by="heads")
    assert [(site.heads, site.groups) for site in sites] == [(3, 3), (4, 2)]
    torch.testing.assert_close(output(model, name, given), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("mask", "by", "heads", "groups"),
    [
        ([1, 0, 0, 1, 0, 1, 1, 0], "groups", 4, 2),  # two of each group
        ([0, 0, 0, 0, 0, 1, 1, 1], "groups", 3, 1),  # three of one
        ([1, 1, 1, 1, 0, 1, 0, 1], "heads", 6, 3),  # four and two: copies serve two each
        ([1, 1, 1, 0, 1, 1, 0, 0], "heads", 5, 5),
    ],
)
def test_key_value_heads_are_copied_only_as_often_as_the_groups_differ(
    mask: list[int], by: Any, heads: int, groups: int
) -> None:
    model, given = in_double("llama", **WIDE)
    keep = [torch.tensor(mask).bool(), torch.ones(8, dtype=torch.bool)]
    expected = forced_off(model, keep, "llama", given)
    site = prune(model, keep, by)[0]
    assert (site.heads, site.groups) == (heads, groups)
    torch.testing.assert_close(output(model, "llama", given), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_lose_heads_is_refused_with_the_reason(name: str) -> None:
    model = tiny(name)
    with pytest.raises(ValueError, match=REFUSED[name]) as refused:
        prune(model, halves(find_sites(model), 1))
    assert "\n" not in str(refused.value)


class Packed(nn.Linear):
    """A linear map whose weights are stored in some other way."""


def test_weights_that_are_quantised_adapted_or_tied_are_refused_and_nothing_is_changed() -> None:
    model = tiny("llama")
    keep = halves(find_sites(model), 1)
    last = model.model.layers[1].self_attn
    whole = last.v_proj
    last.v_proj = Packed(32, 16, bias=False)
    with pytest.raises(ValueError, match="v_proj is of the class Packed"):
        prune(model, keep)
    last.v_proj = nn.Linear(32, 16, bias=False)
    last.v_proj.weight = nn.Parameter(torch.zeros(16, 32, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match="quantised"):
        prune(model, keep)
    last.v_proj = whole
    last.q_proj.weight = model.model.layers[0].self_attn.q_proj.weight
    with pytest.raises(ValueError, match="tied"):
        prune(model, keep)
    assert find_sites(model)[0].heads == 4
    model = tiny("llama")
    model.model.layers[0].self_attn.q_norm = nn.LayerNorm(32)  # over all heads, as OLMo 2 has it
    with pytest.raises(ValueError, match=r"q_norm\.weight .* belongs to all heads together"):
        prune(model, keep)


def test_a_choice_that_does_not_fit_the_heads_there_are_now_is_refused() -> None:
    model = tiny("llama")
    half = [True, True, False, False]
    prune(model, [half, None])
    with pytest.raises(ValueError, match=r"layers.0.self_attn: .*\[4\]; the layer has 2 heads now"):
        prune(model, [half, half])
    with pytest.raises(ValueError, match="bool"):
        prune(model, [torch.ones(2), None])
    with pytest.raises(ValueError, match="at least one key/value group"):
        prune(model, [None, [False] * 4])
    with pytest.raises(ValueError, match="of 3 layers; the model has 2"):
        prune(model, [None] * 3)
    with pytest.raises(ValueError, match="choose groups or heads"):
        prune(model, [None] * 2, by="layers")  # type: ignore[arg-type]
    assert [site.heads for site in prune(model, [None, half])] == [2, 2]
    assert (model.config.num_attention_heads, model.config.num_key_value_heads, model.config.head_dim) == (2, 1, 8)
    retrofit(model, Arm(router=NoRouter()))
    with pytest.raises(ValueError, match=r"Retrofitted\.prune"):
        prune(model, [None] * 2)


def routed(gate: GateFunction, never: list[int], **arm: Any) -> tuple[Retrofitted, dict[str, Tensor]]:
    """A model whose routers choose by the token, and in the first layer never the heads in `never`."""
    model, given = in_double("llama")
    retrofitted = retrofit(model, Arm(router=LearnedRouter(), gate=gate, **arm))
    for number, router in enumerate(retrofitted.routers):
        router.double()
        for parameter in router.parameters():
            drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.2
            parameter.data.copy_(drawn)
    with torch.no_grad():
        columns = list(range(4))[-retrofitted.routers[0].columns["heads"] :]
        for head in never:
            retrofitted.routers[0].of_input.bias[columns.index(head)] = -50
    return retrofitted, given


GATES = [ReLU(), Sigmoid(), Unit(), Unit(k=2), TopK(2), TopK(1, renormalise=True), TopP(0.9), SharedRouted(1, 1)]


@pytest.mark.parametrize("gate", GATES, ids=str)
def test_routers_gate_the_heads_that_are_left_as_they_did(gate: GateFunction) -> None:
    retrofitted, given = routed(gate, [2, 3])
    model = retrofitted.model
    with torch.no_grad():
        before = output(model, "llama", given)
        gates = retrofitted.gates()[0].weight
        assert (gates[..., :2].std() > 0) or isinstance(gate, Unit) or gate == TopK(1, renormalise=True)
        kept = [torch.tensor([True, True, False, False]), torch.ones(4, dtype=torch.bool)]
        if not isinstance(gate, Sigmoid):
            assert (gates[..., 2:] == 0).all()
        retrofitted.prune(kept)
        torch.testing.assert_close(output(model, "llama", given), before, rtol=0, atol=1e-10)
        torch.testing.assert_close(retrofitted.gates()[0].weight, gates[..., :2], rtol=0, atol=1e-12)
    apart = isinstance(gate, (ReLU, Sigmoid)) or gate == Unit()
    assert retrofitted.routers[0].heads == (2 if apart else 4)
    assert [load.shape for load in retrofitted.loads()] == [(2,), (4,)]
    output(model, "llama", given).square().sum().backward()
    assert all(parameter.grad is not None for parameter in retrofitted.parameters())
    with retrofitted.forced([torch.ones(2), None]):
        output(model, "llama", given)


def test_heads_are_removed_twice_from_a_model_whose_routers_stay_whole() -> None:
    retrofitted, given = routed(TopK(1), [1, 2])
    with torch.no_grad():
        before = output(retrofitted.model, "llama", given)
        retrofitted.prune([torch.tensor([True, True, False, True]), None], by="heads")
        retrofitted.prune([torch.tensor([True, False, True]), None], by="heads")
        torch.testing.assert_close(output(retrofitted.model, "llama", given), before, rtol=0, atol=1e-10)
    kept = retrofitted.heads[0].kept
    assert kept is not None
    assert kept.tolist() == [0, 3]


def test_a_router_whose_target_is_out_of_reach_of_fewer_heads_keeps_its_rows() -> None:
    retrofitted, given = routed(ReLU(), [2, 3], balance=BalanceConfig(target=3.0))
    before = output(retrofitted.model, "llama", given)
    retrofitted.prune([torch.tensor([True, True, False, False]), None])
    torch.testing.assert_close(output(retrofitted.model, "llama", given), before, rtol=0, atol=1e-10)
    assert retrofitted.routers[0].heads == 4


def test_what_is_never_on_is_found_and_widened_to_what_groups_can_lose() -> None:
    retrofitted, given = routed(ReLU(), [1, 2, 3])
    batches = [{"input_ids": row[None]} for row in given["input_ids"]]
    used = used_heads(retrofitted, batches)
    assert used[0].tolist() == [True, False, False, False]
    assert used[1].all()
    assert torch.equal(removable(used, retrofitted.sites, "heads")[0], used[0])
    nothing = [torch.zeros(4, dtype=torch.bool), used[1]]
    assert removable(nothing, retrofitted.sites, "heads")[0].tolist() == [True, False, False, False]
    assert removable(nothing, retrofitted.sites, "groups")[0].tolist() == [True, True, False, False]
    retrofitted.prune(removable(used, retrofitted.sites))
    with pytest.raises(ValueError, match="no batch"):
        used_heads(retrofitted, [])
    with pytest.raises(ValueError, match="no routers"):
        used_heads(retrofit(tiny("llama"), Arm(gate=Soft())), batches)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        ([0, 0, 1, 0, 1, 1], [1, 0, 1, 0, 1, 1]),  # the fuller group has two
        ([0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0]),
        ([1, 1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1]),
    ],
)
def test_a_choice_is_widened_by_as_few_heads_as_make_its_groups_equal(mask: list[int], expected: list[int]) -> None:
    assert widened(torch.tensor(mask).bool(), 2).int().tolist() == expected
