"""Heads left out of a retrofitted model: the outputs of the gated one, and nothing computed of what is off."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.models.arm import Arm
from headwise.pretrained.head_sets import head_set, stretches
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.pretrained.skipping import LAYERS, skipping
from headwise.routing.mixtures import ReLU
from headwise.routing.routers import LearnedRouter
from tests.pretrained.architectures import CAUSAL, inputs, tiny

pytest.importorskip("transformers", reason="the extra hf is not installed")
KNOWN = ["llama", "mistral", "qwen2", "qwen3", "smollm3"]
HEADS = {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 8, "hidden_size": 48}
known = pytest.mark.parametrize("name", KNOWN)
forms = pytest.mark.parametrize("attention", ["eager", "sdpa"])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def routed(name: str, attention: str = "sdpa", **settings: Any) -> Retrofitted:
    """A tiny model whose routers close some heads of each token: in float64, but in float32 under eager attention,
    where transformers has padding come out as nan in float64."""
    model = tiny(name, **HEADS, **settings)
    model = model if attention == "eager" else model.double()
    model.set_attn_implementation(attention)
    retrofitted = retrofit(model, Arm(router=LearnedRouter(), gate=ReLU()))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in retrofitted.parameters():
            parameter.copy_(1.5 * torch.randn(parameter.shape, generator=generator))
    return retrofitted


def cached() -> dict[str, Any]:
    """An empty cache under the name that this version of transformers has for it."""
    from transformers import DynamicCache, LlamaForCausalLM

    names = inspect.signature(LlamaForCausalLM.forward).parameters
    return {"cache" if "cache" in names else "past_key_values": DynamicCache()}


def logits(retrofitted: Retrofitted, given: dict[str, Any]) -> Tensor:
    return retrofitted.model(**given).logits


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-10 if one.dtype == torch.float64 else 1e-5)


@known
@forms
@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_many_tokens_come_out_as_gated(name: str, attention: str, padded: bool) -> None:
    retrofitted, given = routed(name, attention), inputs(name, padded=padded)
    gated = logits(retrofitted, given)
    share = torch.stack([(gates.weight > 0).double().mean() for gates in retrofitted.gates()])
    assert ((share > 0.1) & (share < 0.9)).all()
    with skipping(retrofitted, "always") as layers:
        skipped = logits(retrofitted, given)
    assert all(layer.counted.many_tokens == 1 for layer in layers)
    real = given.get("attention_mask", torch.ones(2, 10)).bool()
    close(skipped[real], gated[real])
    assert torch.equal(logits(retrofitted, given), gated)


@known
@forms
@torch.no_grad()
def test_tokens_one_at_a_time_come_out_as_gated(name: str, attention: str) -> None:
    retrofitted, given = routed(name, attention), inputs(name, padded=True)
    settings = {"max_new_tokens": 6, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    gated = retrofitted.model.generate(**given, **settings)
    with skipping(retrofitted, "always") as layers:
        skipped = retrofitted.model.generate(**given, **settings)
    assert all(layer.counted.one_token == 5 and layer.counted.as_before == 0 for layer in layers)
    assert torch.equal(skipped.sequences, gated.sequences)
    for one, other in zip(skipped.logits, gated.logits, strict=True):
        close(one, other)


@torch.no_grad()
def test_a_later_token_finds_keys_of_groups_that_were_off() -> None:
    retrofitted, tokens = routed("llama"), torch.arange(5, 12)[None]
    none, every = torch.zeros(6), torch.ones(6)
    gates = torch.stack([none, none, every, none, none, none, every])

    def by_token() -> Tensor:
        cache, found = cached(), []
        for place in range(7):
            with retrofitted.forced([gates[place : place + 1]] * 2):
                out = retrofitted.model(input_ids=tokens[:, place : place + 1], use_cache=True, **cache)
            found.append(out.logits)
        return torch.cat(found, 1)

    with retrofitted.forced([gates] * 2):
        whole = logits(retrofitted, {"input_ids": tokens})
    with skipping(retrofitted, "always"):
        close(by_token(), whole)


@torch.no_grad()
def test_float32_is_close_to_1e_5() -> None:
    retrofitted, given = routed("llama"), inputs("llama")
    retrofitted.model.float()
    gated = logits(retrofitted, given)
    with skipping(retrofitted, "always"):
        torch.testing.assert_close(logits(retrofitted, given), gated, rtol=0, atol=1e-5)


@torch.no_grad()
def test_weights_of_heads_that_are_off_are_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    retrofitted = routed("llama")
    gates, rows = torch.tensor([0.0, 0, 1, 0, 1, 2]), []
    weights = {site.attention.q_proj.weight.data_ptr(): site.attention.q_proj for site in retrofitted.sites}
    linear = F.linear

    def spied(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        start = weight.untyped_storage().data_ptr()
        if start in weights:
            first = (weight.data_ptr() - start) // (8 * 8 * 48)
            rows.append((len(x), first, first + len(weight) // 8))
        return linear(x, weight, *rest)

    monkeypatch.setattr(F, "linear", spied)
    with retrofitted.forced([gates] * 2), skipping(retrofitted, "always"):
        cache = cached()
        retrofitted.model(input_ids=torch.arange(5, 11)[None], use_cache=True, **cache)
        assert rows == [(6, 2, 3), (6, 4, 6)] * 2
        rows.clear()
        retrofitted.model(input_ids=torch.tensor([[7]]), use_cache=True, **cache)
        assert rows == [(1, 2, 3), (1, 4, 6)] * 2


@torch.no_grad()
def test_queries_are_gathered_across_blocks_and_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwise.pretrained.pairs.BLOCK", 3)
    retrofitted, given = routed("mistral"), inputs("mistral", length=19, padded=True)
    gated = logits(retrofitted, given)
    with skipping(retrofitted, "always"):
        skipped = logits(retrofitted, given)
    real = given["attention_mask"].bool()
    close(skipped[real], gated[real])


@torch.no_grad()
def test_auto_leaves_a_small_pass_of_many_tokens_alone_and_gradients_too() -> None:
    retrofitted, given = routed("llama"), inputs("llama")
    with skipping(retrofitted) as layers:
        logits(retrofitted, given)
        with torch.enable_grad():
            logits(retrofitted, given).sum().backward()
        assert all(layer.counted.as_before == 2 for layer in layers)
    assert all(router.of_input.weight.grad.abs().sum() > 0 for router in retrofitted.routers)


@torch.no_grad()
def test_all_heads_on_is_bit_equal() -> None:
    model, given = tiny("llama"), inputs("llama")
    before = model(**given).logits
    retrofitted = retrofit(model, Arm(router=LearnedRouter(), gate=ReLU()))
    with skipping(retrofitted, "always"):
        assert torch.equal(model(**given).logits, before)


@pytest.mark.parametrize("name", [name for name in CAUSAL if name not in KNOWN])
def test_another_structure_is_refused_in_one_line(name: str) -> None:
    retrofitted = retrofit(tiny(name), Arm(router=LearnedRouter(), gate=ReLU()))
    with pytest.raises(ValueError, match=f"of which heads cannot be left out; it can be of {LAYERS[0]}") as caught:
        skipping(retrofitted).__enter__()
    assert "\n" not in str(caught.value)


def test_what_cannot_be_skipped_is_refused() -> None:
    retrofitted = routed("llama")
    with pytest.raises(ValueError, match="when=never: choose auto or always"):
        skipping(retrofitted, "never").__enter__()  # type: ignore[arg-type]
    with skipping(retrofitted):
        with pytest.raises(ValueError, match="enter skipping once"):
            skipping(retrofitted).__enter__()
        with pytest.raises(ValueError, match="ask outside skipping"):
            retrofitted.model(**inputs("llama"), output_attentions=True)
    retrofitted.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="attention by flash_attention_2; heads can be left out under eager and sdpa"):
        skipping(retrofitted).__enter__()
    retrofitted = routed("llama")

    class Adapted(nn.Linear):
        pass

    retrofitted.model.model.layers[0].self_attn.q_proj = Adapted(48, 48)
    with pytest.raises(ValueError, match="q_proj is a Adapted"):
        skipping(retrofitted).__enter__()


def test_the_model_is_as_before_after_an_error() -> None:
    retrofitted = routed("llama")
    with pytest.raises(KeyError), skipping(retrofitted):
        raise KeyError
    assert "forward" not in vars(retrofitted.sites[0].attention)


def test_sets_of_heads() -> None:
    assert stretches([True, True, False, True]) == ((0, 2), (3, 4))
    found = head_set((True, False, False, False, True, True), 3, torch.device("cpu"))
    assert found.heads == (0, 4, 5)
    assert [(run.first, run.last, run.start, run.end) for run in found.groups] == [(0, 1, 0, 1), (2, 3, 1, 3)]
    uneven = head_set((True, True, True, False), 2, torch.device("cpu")).groups[0]
    assert uneven.pack is not None
    assert uneven.unpack is not None
    assert uneven.pack.tolist() == [0, 1, 2, 2]
    assert uneven.unpack.tolist() == [0, 1, 2]
