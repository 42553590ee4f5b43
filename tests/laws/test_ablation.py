"""Gates changed from outside, and another number of steps, in every arm: where nothing is taken away the model is as it
was, bit for bit, and what is taken away has no part in the output."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from headwise.laws.arms import RELATED
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.routing.ablation import Change, GateNoise, KeptHeads, changed_gates
from headwise.routing.attention import RoutedAttention
from headwise.routing.layout import Layout

from .arms import ARMS, SHAPE, fitted, perturbed

HEADS = SHAPE.heads
ORDER = torch.tensor([[2, 0, 3, 1], [1, 3, 0, 2], [0, 1, 2, 3], [3, 2, 1, 0]])  # of two layers, or of two networks'
X = torch.randn(3, 5, SHAPE.width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def shape_of(name: str) -> ModelConfig:
    return RELATED if ARMS[name].router.follows_route else SHAPE


def backbone_of(name: str) -> Backbone:
    return perturbed(ARMS[name], shape=shape_of(name)).eval()


@torch.no_grad()
def output(backbone: Backbone, change: Change | None = None) -> tuple[Tensor, Tensor]:
    """Final states and steps taken."""
    seen = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(2)) < 0.6
    route = torch.tensor([[0, 1], [1, -1], [1, 1]])
    layout = Layout(torch.ones(3, 5, dtype=torch.bool), {"first": seen[0], "second": seen[1]}, route=route)
    layout = layout if backbone.model.n_structural else Layout()
    if change is None:
        trace = backbone(X, layout)
    else:
        with changed_gates(backbone, change):
            trace = backbone(X, layout)
    return trace.states, trace.steps


@pytest.mark.parametrize("name", ARMS)
def test_where_nothing_is_taken_away_the_model_is_as_it_was_bit_for_bit(name: str) -> None:
    backbone = backbone_of(name)
    states, steps = output(backbone)
    backbone.set_steps(backbone.arm.refinement.steps)
    neutral = [output(backbone), output(backbone, KeptHeads.first(ORDER, HEADS)), output(backbone)]
    for own_states, own_steps in neutral:
        assert torch.equal(own_states, states)
        assert torch.equal(own_steps, steps)
    noisy, _ = output(backbone, GateNoise(0.0, seed=0))  # the gates of a sequence become one row for each token
    torch.testing.assert_close(noisy, states, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ARMS)
def test_a_head_that_is_off_has_no_part_in_the_output(name: str) -> None:
    backbone, k = backbone_of(name), 1
    before, _ = output(backbone, KeptHeads.first(ORDER, k))
    unchanged, _ = output(backbone)
    for layer, attention in enumerate(module for module in backbone.modules() if isinstance(module, RoutedAttention)):
        off = torch.ones(HEADS, dtype=torch.bool).index_fill(0, ORDER[layer, :k], False)
        channels = off.repeat_interleave(attention.shape.head_width)
        with torch.no_grad():
            if not backbone.arm.controller.reads_heads:  # which sees all heads, off or on
                attention.projection[2 * SHAPE.width :][channels] += 100  # its values
            if backbone.arm.combine == "mask_concat":  # in a mixture all heads share the columns
                attention.output.weight[:, channels] += 100
    after, _ = output(backbone, KeptHeads.first(ORDER, k))
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(before, unchanged)


@pytest.mark.parametrize("name", ARMS)
def test_more_steps_are_those_of_a_model_that_is_built_with_them(name: str) -> None:
    backbone = backbone_of(name)
    arm = fitted(ARMS[name])
    more = 2 * arm.refinement.steps + arm.refinement.recursion.cycle
    built = Backbone(shape_of(name), replace(arm, refinement=replace(arm.refinement, steps=more))).to(torch.float64)
    built.load_state_dict(backbone.state_dict())
    backbone.set_steps(more)
    for own, other in zip(output(backbone), output(built.eval()), strict=True):
        assert torch.equal(own, other)


def test_noise_is_drawn_for_each_token_and_head_that_is_on() -> None:
    gates = torch.tensor([[[1.0, 0.0, 0.5, 2.0]], [[0.0, 1.0, 1.0, 1.0]]])  # [2, 1, 4], of a sequence each
    drawn = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(7))
    noise = GateNoise(0.5, seed=7)
    first, second = noise(0, gates, 3), noise(1, gates, 3)
    torch.testing.assert_close(first, (gates + 0.5 * drawn) * (gates != 0))
    assert not torch.equal(first, second)
    assert torch.equal(first[..., 1][0], torch.zeros(3))


def test_hooks_are_gone_after_an_error() -> None:
    backbone = backbone_of("baseline")
    with pytest.raises(ZeroDivisionError), changed_gates(backbone, lambda layer, gates, length: gates * (1 // 0)):
        backbone(X)
    backbone(X)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="steps=0: choose at least 1"):
        backbone_of("baseline").set_steps(0)
