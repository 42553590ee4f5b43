"""Routing put into pretrained models: equal at the start, gradients everywhere, forced gates, taken out again."""

from collections.abc import Iterator

import pytest
import torch

from headwise.models.arm import Arm
from headwise.pretrained.retrofit import retrofit
from headwise.routing.gates import Sigmoid, Soft
from headwise.routing.mixtures import ReLU
from headwise.routing.routers import LearnedRouter
from headwise.routing.unit_gates import Unit
from tests.pretrained.architectures import ARCHITECTURES, CAUSAL, FOUR, SITES, inputs, output, tiny

pytest.importorskip("transformers", reason="the extra hf is not installed")
RELU = Arm(router=LearnedRouter(), gate=ReLU())
names = pytest.mark.parametrize("name", ARCHITECTURES)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@names
def test_outputs_are_bit_equal_at_the_start_and_after_removal(name: str) -> None:
    model, given = tiny(name), inputs(name)
    keys = list(model.state_dict())
    before = output(model, name, given)
    for gate in (ReLU(), Sigmoid(), Soft(), Unit()):
        retrofitted = retrofit(model, Arm(router=LearnedRouter(), gate=gate))
        assert len(retrofitted.sites) == SITES.get(name, 2)
        assert torch.equal(output(model, name, given), before)
        assert [key for key in model.state_dict() if ".headwise." not in key] == keys
        assert retrofitted.remove() is model
        assert list(model.state_dict()) == keys
        assert torch.equal(output(model, name, given), before)


@names
def test_gradients_reach_every_router(name: str) -> None:
    model = tiny(name)
    retrofitted = retrofit(model, RELU)
    output(model, name, inputs(name)).square().sum().backward()
    for site, router in zip(retrofitted.sites, retrofitted.routers, strict=True):
        assert router.of_input.weight.grad.abs().sum() > 0, site.name


@names
def test_a_head_forced_off_is_its_slice_of_the_projection_zeroed(name: str) -> None:
    # experts of transformers 4 add float32 to what they are given
    dtype, error = (torch.float32, 1e-6) if name == "deepseek_v3" and FOUR else (torch.float64, 1e-12)
    model, given = tiny(name).to(dtype), inputs(name)
    given = {key: value.to(dtype) if value.is_floating_point() else value for key, value in given.items()}
    retrofitted = retrofit(model, RELU)
    off = torch.ones(4 if name != "minilm" else 6, dtype=dtype)
    off[1] = 0
    with retrofitted.forced([off, *[None] * (len(retrofitted.sites) - 1)]):
        forced = output(model, name, given)
    assert not torch.equal(forced, output(model, name, given))
    site = retrofitted.sites[0]
    weight, columns = site.projection.weight, slice(site.head_width, 2 * site.head_width)
    with torch.no_grad():
        (weight[columns] if type(site.projection).__name__ == "Conv1D" else weight[:, columns]).zero_()
    torch.testing.assert_close(output(model, name, given), forced, rtol=0, atol=error)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_routed_model_generates_with_its_cache_what_it_generates_without(name: str) -> None:
    model = tiny(name)
    retrofitted = retrofit(model, RELU)
    with torch.no_grad():
        for number, parameter in enumerate(retrofitted.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    given = inputs(name, padded=True)
    settings = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with torch.no_grad():
        cached = model.generate(**given, **settings, use_cache=True)
        plain = model.generate(**given, **settings, use_cache=False)
    assert torch.equal(cached.sequences, plain.sequences)
    for one, other in zip(cached.logits, plain.logits, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
