"""The refinement loop: gradient windows, supervision, carried state."""

from dataclasses import replace

import pytest
import torch

from headwise.errors import InputError
from headwise.laws.independence import batch
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import HRMConfig
from headwise.reasoning.halting import EntropyHalting, PonderHalting
from headwise.reasoning.refinement import RefinementConfig
from headwise.reasoning.trace import Carry
from headwise.routing.routers import LearnedRouter

from ..laws.arms import ARMS, TaskFacts, perturbed
from ..laws.test_independence import middling_entropy

SHAPE = ModelConfig(width=16, heads=4, ffn=24)


def arm(**loop: object) -> Arm:
    settings = {"steps": 6, "injection": "input", **loop}
    return Arm(
        router=LearnedRouter("sequence"), controller=HRMConfig(period=2), refinement=RefinementConfig(**settings)
    )


@pytest.mark.parametrize(("period", "steps", "first"), [(4, 8, 5), (4, 12, 9), (4, 9, 9), (2, 7, 7), (3, 6, 4)])
def test_last_opens_its_window_at_the_last_slow_update(period: int, steps: int, first: int) -> None:
    """With only the last step in the gradient f_H is dead at R = 4, 8, 12 and period 4."""
    assert RefinementConfig(steps=steps, gradient="last").first_with_gradient(period) == first


def saved_bytes(steps: int, gradient: str) -> int:
    total = 0

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        total += tensor.nbytes
        return tensor

    backbone = Backbone(SHAPE, arm(steps=steps, gradient=gradient))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        backbone(torch.randn(4, 5, 16)).states.sum().backward()
    return total


def test_memory_of_gradient_last_does_not_depend_on_the_number_of_steps() -> None:
    assert saved_bytes(4, "last") == saved_bytes(16, "last")
    assert saved_bytes(16, "full") > 3 * saved_bytes(4, "full")


def test_truncated_gradient_is_the_gradient_with_earlier_steps_held_fixed() -> None:
    torch.manual_seed(0)
    full = Backbone(SHAPE, arm()).double()
    short = Backbone(SHAPE, arm(gradient="truncated", window=2)).double()
    short.load_state_dict(full.state_dict())
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(short(x).states, full(x).states)
    before = Backbone(SHAPE, arm(steps=4)).double()
    before.load_state_dict(full.state_dict())
    carry = before(x).carry.detach()
    rest = Backbone(SHAPE, arm(steps=3)).double()  # period 2 needs 3; only the first two steps are run below
    rest.load_state_dict(full.state_dict())
    rest.refiner.config = RefinementConfig(steps=2, injection="input")
    expected = torch.autograd.grad(rest(x, carry=carry).states.sin().sum(), list(rest.parameters()))
    actual = torch.autograd.grad(short(x).states.sin().sum(), list(short.parameters()))
    torch.testing.assert_close(actual, expected)


def test_a_carried_state_continues_as_if_never_interrupted() -> None:
    torch.manual_seed(0)
    whole = Backbone(SHAPE, arm(steps=8)).double()
    half = Backbone(SHAPE, arm(steps=4)).double()
    half.load_state_dict(whole.state_dict())
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(half(x, carry=half(x).carry).states[-1], whole(x).states[-1])


@pytest.mark.parametrize("name", ["segments", "segments_of_one_step", "segments_last", "segments_reuse"])
def test_an_evaluation_takes_all_segments_that_training_takes_one_by_one(name: str) -> None:
    """Keys, values and head outputs are a segment's own, as a training step cannot use those of the one before."""
    backbone = perturbed(ARMS[name])
    x, carry = torch.randn(3, 5, 16, dtype=torch.float64), None
    for _ in range(backbone.arm.refinement.segments):
        trace = backbone(x, carry=carry)
        carry = trace.carry.detach()
    whole = backbone.eval()(x)
    torch.testing.assert_close(whole.states[0], trace.states[-1])
    assert whole.steps.tolist() == [backbone.arm.refinement.steps_in_all] * 3


def test_examples_that_halt_take_no_more_segments() -> None:
    """Entropy halting over six steps in three segments of two is that over six steps in one."""
    policy = EntropyHalting(middling_entropy(arm(steps=6)))
    whole = perturbed(replace(arm(steps=6), halting=policy), seed=3).eval()
    parts = perturbed(replace(arm(steps=2, segments=3), halting=policy), seed=3).eval()
    with torch.no_grad():
        one, three = whole(batch(16)), parts(batch(16))
    assert one.steps.unique().numel() > 1
    assert torch.equal(one.steps, three.steps)
    torch.testing.assert_close(one.states, three.states)


def test_no_gradient_reaches_back_into_an_earlier_segment() -> None:
    """Its memory is that of one segment, however many there are, and its gradient that of a state held fixed."""
    backbone = perturbed(ARMS["segments"])
    x = torch.randn(2, 5, 16, dtype=torch.float64, requires_grad=True)
    first = backbone(x).carry
    assert first.hidden.requires_grad
    assert first.state.slow.requires_grad
    carry = first.detach()
    held = Carry(carry.hidden.clone(), carry.state)
    of_carried, of_held = (torch.autograd.grad(backbone(x, carry=c).states.sum(), x) for c in (carry, held))
    torch.testing.assert_close(of_carried, of_held)
    undetached = torch.autograd.grad(backbone(x, carry=first).states.sum(), x)
    assert not torch.allclose(undetached[0], of_held[0])


def test_supervision_chooses_states_and_weights() -> None:
    x = torch.randn(2, 5, 16)
    last, uniform, ramp = (Backbone(SHAPE, arm(supervision=name))(x) for name in ("last", "uniform", "ramp"))
    assert (len(last.states), len(uniform.states), len(ramp.states)) == (1, 6, 6)
    torch.testing.assert_close(uniform.weights, torch.full((6, 2), 1 / 6))
    assert ramp.weights[-1, 0] / ramp.weights[0, 0] == pytest.approx(1 / 0.3)


def test_only_the_last_steps_are_supervised_where_a_number_is_given() -> None:
    x = torch.randn(2, 5, 16)
    every, few = (perturbed(arm(supervision="uniform", supervised=n), dtype=torch.float32)(x) for n in (None, 2))
    assert torch.equal(few.states, every.states[-2:])
    torch.testing.assert_close(few.weights, torch.full((2, 2), 1 / 2))
    ramp = perturbed(arm(supervision="ramp", supervised=3), dtype=torch.float32)(x)
    torch.testing.assert_close(ramp.weights[:, 0], torch.tensor([0.3, 0.65, 1]) / 1.95)
    for loop, message in [
        ({"supervised": 2}, "supervised=2: has an effect only with"),
        ({"supervised": 1, "supervision": "uniform"}, "supervised=1: choose 2..6"),
        ({"supervised": 3, "supervision": "uniform", "gradient": "truncated", "window": 2}, "choose 2..2"),
    ]:
        with pytest.raises(InputError, match=message):
            check(arm(**loop), TaskFacts())
    with pytest.raises(ValueError, match=r"supervised=7: choose 1\.\.6"):
        arm(supervision="uniform", supervised=7)


def test_evaluation_returns_one_state() -> None:
    backbone = Backbone(SHAPE, arm(supervision="uniform")).eval()
    assert len(backbone(torch.randn(2, 5, 16)).states) == 1


def test_ponder_halts_where_the_cumulative_probability_reaches_a_half() -> None:
    ponder = replace(arm(steps=12), halting=PonderHalting(bias=-1.5))
    backbone = Backbone(SHAPE, ponder).eval()
    with torch.no_grad():
        backbone.refiner.halting.head.weight.zero_()
    stop = torch.tensor(-1.5).sigmoid().item()
    first = next(t for t in range(1, 13) if 1 - (1 - stop) ** t >= 0.5)
    assert backbone(torch.randn(3, 5, 16)).steps.tolist() == [first] * 3


def test_ponder_cost_is_the_expected_number_of_steps_with_gradient() -> None:
    backbone = Backbone(SHAPE, replace(arm(steps=12), halting=PonderHalting()))
    with torch.no_grad():
        backbone.refiner.halting.head.weight.zero_()
    cost = backbone(torch.randn(3, 5, 16)).losses["ponder"]
    assert cost.item() == pytest.approx(9.3, abs=0.05)
    cost.backward()
    assert backbone.refiner.halting.head.bias.grad < 0


def test_forced_gates_replace_the_routers_at_each_step() -> None:
    backbone = Backbone(SHAPE, arm())
    x = torch.randn(2, 5, 16)
    zeros, ones = torch.zeros(2, 1, 4), torch.ones(2, 1, 4)
    constant = backbone(x, gates=[[ones]])
    torch.testing.assert_close(constant.states, backbone(x, gates=[[ones]] * 6).states)
    assert not torch.allclose(constant.states, backbone(x, gates=[[ones]] * 5 + [[zeros]]).states)


@pytest.mark.parametrize(
    "values",
    [{"steps": 0}, {"steps": 3, "window": 4}, {"steps": 3, "window": 0}, {"segments": 0}],
    ids=["steps", "wide", "empty", "segments"],
)
def test_impossible_settings_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="choose"):
        RefinementConfig(**values)


def test_joined_carries_keep_the_steps_of_each_example() -> None:
    """In the order that is asked for, also where one part has a number for all its rows."""
    hidden = torch.arange(3.0)[:, None, None]
    parts = [Carry(hidden[[2, 0]], None, torch.tensor([6, 2])), Carry(hidden[[1]], None, 4)]
    joined = Carry.joined(parts, torch.tensor([1, 2, 0]))
    assert joined.hidden.flatten().tolist() == [0, 1, 2]
    assert joined.steps.tolist() == [2, 4, 6]
