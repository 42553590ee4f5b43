"""What heads contribute, and routers fitted to it in closed form."""

import pytest
import torch

from headwise.models.arm import Arm
from headwise.pretrained.contributions import observed
from headwise.pretrained.retrofit import retrofit
from headwise.pretrained.sites import find_sites
from headwise.pretrained.warm_start import PENALTIES, Moments, warm_start
from headwise.routing.gates import Sigmoid
from headwise.routing.routers import LearnedRouter
from headwise.routing.unit_gates import Unit
from tests.pretrained.architectures import inputs, tiny

pytest.importorskip("transformers", reason="the extra hf is not installed")
UNIT = Arm(router=LearnedRouter(), gate=Unit())


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "deepseek_v3", "bart"])
def test_a_heads_contribution_is_the_norm_of_what_it_adds_to_the_layers_output(name: str) -> None:
    model, seen, added = tiny(name), {}, {}
    sites = find_sites(model)

    def see(number: int, x: torch.Tensor, norms: torch.Tensor) -> None:
        seen[number] = norms

    def reference(site_number: int):
        def hook(module, args):
            site, outputs = sites[site_number], args[0]
            without = torch.zeros_like(outputs)
            nothing = module.forward(without)
            each = []
            for head in range(site.heads):
                only = without.clone()
                part = slice(head * site.head_width, (head + 1) * site.head_width)
                only[..., part] = outputs[..., part]
                each.append((module.forward(only) - nothing).norm(dim=-1))
            added[site_number] = torch.stack(each, -1)

        return hook

    handles = [site.projection.register_forward_pre_hook(reference(n)) for n, site in enumerate(sites)]
    with torch.no_grad(), observed(sites, see):
        model(**inputs(name))
    for handle in handles:
        handle.remove()
    assert seen.keys() == added.keys() == set(range(len(sites)))
    for number in seen:
        torch.testing.assert_close(seen[number], added[number].view_as(seen[number]), rtol=1e-3, atol=1e-5)


def test_moments_give_the_solution_of_a_ridge_regression_and_its_error() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]], dtype=torch.float64) + torch.tensor([0.3, -1.0])
    y = y + 0.1 * torch.randn(50, 2, generator=generator, dtype=torch.float64)
    moments = Moments(3, 2)
    moments.add(x[:20], y[:20])
    moments.add(x[20:], y[20:])
    solution = moments.solve(0.01)
    penalty = 0.01 * x.square().sum(0).mean()
    rows = torch.cat([torch.cat([x, torch.ones(50, 1)], 1), torch.eye(4)[:3] * penalty.sqrt()])
    expected = torch.linalg.lstsq(rows, torch.cat([y, torch.zeros(3, 2)])).solution
    torch.testing.assert_close(solution, expected, rtol=1e-9, atol=1e-9)
    error = (y - x @ solution[:3] - solution[3]).square().sum(0)
    torch.testing.assert_close(moments.errors(solution), error, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(moments.spread(), (y - y.mean(0)).square().sum(0), rtol=1e-8, atol=1e-8)


def tokens(batches: int = 12) -> torch.Tensor:
    """Texts of one token each: what a head says then follows from that token alone."""
    return torch.randint(3, 31, (batches, 40, 1), generator=torch.Generator().manual_seed(3))


def predictable() -> torch.nn.Module:
    """A model whose tokens are directions of their own, so that a linear map can tell any two of them apart."""
    model = tiny("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(64, 32))
    return model


def test_a_fitted_router_keeps_the_heads_that_contribute_most_and_predicts_held_out_tokens() -> None:
    model, above = predictable(), []
    retrofitted = retrofit(model, UNIT)
    fits = warm_start(retrofitted, tokens(), keep=3)
    with torch.no_grad(), retrofitted.all_on(), observed(retrofitted.sites, lambda *seen: above.append(seen[:2])):
        for batch in tokens():
            model(batch)
    for layer, router in enumerate(retrofitted.routers):
        x = torch.cat([x for number, x in above if number == layer])
        on = (router.logits(x, None, None) >= 0).float().mean()
        assert on == pytest.approx(0.75, abs=0.1), "0 parts the heads that are on from the others, for gradients"
    assert all(fit.r2 > 0.95 and fit.penalty in PENALTIES for fit in fits), fits
    agreement = []

    def see(number: int, x: torch.Tensor, norms: torch.Tensor) -> None:
        predicted = retrofitted.routers[number].logits(x, None, None)
        agreement.append((predicted.argmin(-1) == norms.argmin(-1)).float().mean())

    with torch.no_grad(), retrofitted.forced([torch.ones(4)] * 2), observed(retrofitted.sites, see):
        model(tokens(13)[-1])
    assert torch.stack(agreement).mean() > 0.9
    with torch.no_grad():
        model(tokens(13)[-1])
    assert all((gates.active.sum(-1) == 3).all() for gates in retrofitted.gates())
    assert all(((gates.weight == 0) | (gates.weight == 1)).all() for gates in retrofitted.gates())


def test_a_share_of_all_heads_is_kept_by_one_threshold() -> None:
    model = predictable()
    retrofitted = retrofit(model, UNIT)
    warm_start(retrofitted, tokens(), share=0.75)
    with torch.no_grad():
        on = []
        for batch in tokens():
            model(batch)
            on += [gates.active.float().mean() for gates in retrofitted.gates()]
    assert torch.stack(on).mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("arm", "settings", "said"),
    [
        (UNIT, {}, "one of the two"),
        (UNIT, {"keep": 3, "share": 0.5}, "one of the two"),
        (UNIT, {"keep": 5}, "k=5 but the block has 4 heads"),
        (UNIT, {"share": 1.5}, "share=1.5"),
        (Arm(router=LearnedRouter(), gate=Sigmoid()), {"keep": 3}, "arm.gate=unit"),
        (Arm(), {"keep": 3}, "arm.router=learned"),
    ],
)
def test_what_cannot_be_fitted_is_said(arm: Arm, settings: dict, said: str) -> None:
    retrofitted = retrofit(tiny("llama"), arm)
    with pytest.raises(ValueError, match=said):
        warm_start(retrofitted, tokens(), **settings)


def test_text_of_fewer_batches_than_are_held_out_is_refused() -> None:
    with pytest.raises(ValueError, match="choose at least 4"):
        warm_start(retrofit(tiny("llama"), UNIT), tokens(3), keep=3)
