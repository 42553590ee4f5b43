"""What is iterated: two streams against plain twins, what is read out, residuals, noise, refusals."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.errors import InputError
from headwise.laws.neutrality import torch_layer
from headwise.laws.reach import unmoved, unreached
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.reasoning.controllers import HRMConfig
from headwise.reasoning.draws import keys_of
from headwise.reasoning.halting import EntropyHalting, FixedHalting, HaltingConfig, PonderHalting
from headwise.reasoning.initial_states import FixedState, RandomState
from headwise.reasoning.recursion import TwoStreams, residual
from headwise.reasoning.refinement import RefinementConfig
from headwise.reasoning.refiner import Refiner
from headwise.routing.layout import Layout
from headwise.routing.routers import LearnedRouter
from headwise.training.building import build_model, data_of
from headwise.training.configuration import load_arms
from headwise.training.scoring import score
from tests.training.recipes import tiny

from ..laws.arms import SHAPE, TaskFacts, perturbed, shipped
from ..laws.test_independence import middling_entropy
from .plain_recursion import Net, hrm, segments, trm

THREE = TwoStreams(3)


def arm(recursion: TwoStreams = THREE, **loop: Any) -> Arm:
    settings = {"steps": 2 * recursion.period, "initial_state": FixedState(), "recursion": recursion, **loop}
    return Arm(LearnedRouter(), refinement=RefinementConfig(**settings))


def of_trm() -> tuple[RefinementConfig, Callable[..., Any]]:
    """n = 2, T = 3."""
    loop = RefinementConfig(9, "last", recursion=TwoStreams(3), initial_state=FixedState(), segments=3)
    return loop, lambda nets, x: partial(trm, nets[0], x, n=2, T=3)


def of_hrm() -> tuple[RefinementConfig, Callable[..., Any]]:
    """T = 2, N = 2."""
    loop = RefinementConfig(
        6, "truncated", 2, recursion=TwoStreams(3, networks=2), initial_state=FixedState(), segments=3
    )
    return loop, lambda nets, x: partial(hrm, nets[0], nets[1], x, N=2, T=2)


def net(stack: nn.Module) -> tuple[Net, list[nn.TransformerEncoderLayer]]:
    """torch's layers with the weights of a stack, as one callable."""
    layers = [torch_layer(block) for block in stack.blocks]
    return nn.Sequential(*layers), layers


def gradients_of(block: nn.Module, layer: nn.TransformerEncoderLayer) -> list[tuple[Tensor, Tensor]]:
    return [
        (block.attention.projection.grad, layer.self_attn.in_proj_weight.grad),
        (block.attention.output.weight.grad, layer.self_attn.out_proj.weight.grad),
        (block.attention_norm.weight.grad, layer.norm1.weight.grad),
        (block.ffn[0].weight.grad, layer.linear1.weight.grad),
        (block.ffn[2].bias.grad, layer.linear2.bias.grad),
        (block.ffn_norm.bias.grad, layer.norm2.bias.grad),
    ]


@pytest.mark.parametrize("published", [of_trm, of_hrm])
def test_two_streams_are_the_published_recursion_in_outputs_and_gradients(published: Any) -> None:
    """Over three supervised segments, each an update of its own, with torch's layers in the twin."""
    loop, twin = published()
    backbone = perturbed(Arm(refinement=loop))
    x = torch.randn(3, 5, SHAPE.width, dtype=torch.float64, requires_grad=True)
    x_twin = x.detach().clone().requires_grad_()
    refiner = backbone.refiner
    nets, layers = zip(*(net(stack) for stack in refiner.stacks), strict=True)
    y_0, z_0 = (vector.expand_as(x) for vector in refiner.initial_state.vectors)
    carry = None
    for y, z in segments(twin(nets, x_twin), y_0, z_0, loop.segments):
        trace = backbone(x, carry=carry)
        carry = trace.carry.detach()
        expected = F.layer_norm(y, y.shape[-1:], backbone.norm.weight, backbone.norm.bias)
        torch.testing.assert_close(trace.states, expected[None], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(carry.latent, z, rtol=1e-10, atol=1e-10)
        trace.states.sin().sum().backward()
        expected.sin().sum().backward()
    torch.testing.assert_close(x.grad, x_twin.grad, rtol=1e-10, atol=1e-10)
    for stack, own in zip(refiner.stacks, layers, strict=True):
        for block, layer in zip(stack.blocks, own, strict=True):
            for ours, theirs in gradients_of(block, layer):
                assert theirs.norm() > 1e-3
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    evaluated = backbone.eval()(x)
    torch.testing.assert_close(evaluated.states, expected[None], rtol=1e-10, atol=1e-10)
    assert evaluated.steps.tolist() == [loop.steps_in_all] * 3


def test_the_shipped_arms_have_the_published_structure() -> None:
    of, n, T = shipped()["trm"].refinement, 6, 3
    assert (of.steps, of.recursion, of.gradient) == (T * (n + 1), TwoStreams(n + 1), "last")
    assert of.first_with_gradient(None) == of.steps - n  # the last cycle
    of = shipped()["hrm_original"].refinement
    assert (of.recursion, of.gradient, of.window) == (TwoStreams(3, 2), "truncated", 2)


@pytest.mark.parametrize("networks", [1, 2])
def test_only_answers_are_read_out_and_supervised(networks: Any) -> None:
    backbone = perturbed(arm(TwoStreams(3, networks), steps=9, supervision="uniform"))
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    trace = backbone(x, record=True)
    assert list(trace.numbers) == [3, 6, 9]
    torch.testing.assert_close(trace.weights, torch.full((3, 2), 1 / 3, dtype=torch.float64))
    written = []
    for stack in backbone.refiner.stacks:
        stack.register_forward_hook(lambda *call: written.append(call[-1].hidden))
    backbone(x)
    answers = torch.stack([written[step - 1] for step in trace.numbers])
    torch.testing.assert_close(trace.states, backbone.norm(answers))
    few = perturbed(arm(TwoStreams(3, networks), steps=9, supervision="uniform", supervised=2))
    assert list(few(x).numbers) == [6, 9]


def test_forced_gates_are_those_of_the_layers_that_a_step_applies() -> None:
    """With two networks the layers of the network of that step."""
    backbone = perturbed(arm(TwoStreams(2, 2)))
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    forced = torch.rand(4, SHAPE.depth, 2, 1, 4, dtype=torch.float64)
    seen: dict[str, list[Tensor]] = {}
    for name, stack in zip(("latent", "answer"), backbone.refiner.stacks, strict=True):
        for block in stack.blocks:
            block.register_forward_hook(
                lambda _, args, __, name=name: seen.setdefault(name, []).append(args[4]), always_call=True
            )
    backbone(x, gates=[list(step) for step in forced])
    assert torch.equal(torch.stack(seen["latent"]), forced[[0, 2]].flatten(0, 1))
    assert torch.equal(torch.stack(seen["answer"]), forced[[1, 3]].flatten(0, 1))


def test_a_controller_reads_the_answer() -> None:
    backbone = perturbed(replace(arm(), controller=HRMConfig(period=2)))
    read: list[Tensor] = []
    backbone.refiner.controller.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    trace = backbone(torch.randn(2, 5, 16, dtype=torch.float64))
    vectors = backbone.refiner.initial_state.vectors
    assert all(torch.equal(hidden, vectors[0].expand(2, 5, 16)) for hidden in read[:3])
    assert torch.equal(read[3], read[5])
    assert not torch.equal(read[3], read[2])
    assert not torch.equal(read[3], trace.carry.hidden)


@pytest.mark.parametrize("halting", ["entropy", "ponder"])
def test_examples_halt_at_answers_and_leave_both_streams_behind(halting: str) -> None:
    """What an example has when it halts is what it would have had alone, in as many steps."""
    plain = replace(arm(TwoStreams(2), steps=8, initial_state=RandomState()), controller=HRMConfig(period=2))
    policy = EntropyHalting(middling_entropy(plain)) if halting == "entropy" else PonderHalting()
    halts, full = perturbed(replace(plain, halting=policy), seed=3).eval(), perturbed(plain, seed=3).eval()
    if halting == "ponder":  # examples that differ
        with torch.no_grad():
            halts.refiner.halting.head.weight.mul_(100)
            halts.refiner.halting.head.bias.zero_()
    full.load_state_dict({k: v for k, v in halts.state_dict().items() if "halting" not in k})
    x, layout = torch.randn(24, 5, 16, dtype=torch.float64), Layout(keys=keys_of(torch.arange(24)))
    with torch.no_grad():
        trace = halts(x, layout, record=True)
        assert trace.steps.unique().numel() > 1
        assert (trace.steps % 2 == 0).all()
        for steps in trace.steps.unique().int().tolist():
            full.set_steps(steps)
            rows = trace.steps == steps
            alone = full(x, layout, record=True)
            torch.testing.assert_close(trace.states[:, rows], alone.states[:, rows])
            torch.testing.assert_close(trace.carry.latent[rows], alone.carry.latent[rows])
            torch.testing.assert_close(trace.carry.hidden[rows], alone.carry.hidden[rows])
            torch.testing.assert_close(trace.residuals[steps // 2 - 1, rows], alone.residuals[-1, rows])
            torch.testing.assert_close(trace.residuals[-1, rows], alone.residuals[-1, rows])


def test_residuals_say_how_far_each_answer_moved() -> None:
    backbone = perturbed(arm(TwoStreams(2), steps=6, supervision="uniform"))
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    backbone.norm = nn.Identity()
    assert backbone(x, mask).residuals is None
    trace = backbone(x, mask, record=True)
    answers = [backbone.refiner.initial_state.vectors[0].expand_as(x), *trace.states]
    expected = [
        [((new[b] - old[b]).norm(dim=-1) / new[b].norm(dim=-1))[mask[b]].mean() for b in range(2)]
        for old, new in pairwise(answers)
    ]
    torch.testing.assert_close(trace.residuals, torch.stack([torch.stack(row) for row in expected]).detach())
    assert not trace.residuals.requires_grad
    single = Backbone(SHAPE, Arm(refinement=RefinementConfig(steps=4)))
    assert single(torch.randn(3, 5, 16), record=True).residuals.shape == (4, 3)


@pytest.mark.parametrize("halting", [FixedHalting(), EntropyHalting(1e-9)], ids=["all steps", "until halted"])
def test_noise_on_the_path_is_no_part_of_how_far_an_answer_moved(halting: HaltingConfig) -> None:
    """Each residual is between two answers as they are read out."""
    loop = RefinementConfig(4, injection="input")
    backbone = perturbed(Arm(LearnedRouter(), refinement=loop, halting=halting)).eval()
    backbone.norm = nn.Identity()
    backbone.set_noise(0.3)
    x, layout = torch.randn(3, 5, SHAPE.width, dtype=torch.float64), Layout(keys=keys_of(torch.arange(3), 0))
    moved, answers = backbone(x, layout, record=True).residuals, []
    for steps in range(1, 5):
        backbone.set_steps(steps)
        answers.append(backbone(x, layout).states[0])
    for t in range(1, 4):
        torch.testing.assert_close(moved[t], residual(answers[t], answers[t - 1], None))


def test_evaluation_takes_more_whole_cycles() -> None:
    backbone = perturbed(arm(TwoStreams(3), steps=6)).eval()
    backbone.set_steps(12)
    assert backbone(torch.randn(2, 5, 16, dtype=torch.float64)).steps.tolist() == [12, 12]
    with pytest.raises(ValueError, match=r"steps=7: the answer is updated every 3 steps .*choose a multiple of 3"):
        backbone.set_steps(7)


ROUTED = Arm(LearnedRouter())
REFUSED = {
    "injection": (arm(injection="input"), r"injection=input: recursion two_streams .*use none"),
    "reuse": (arm(reuse="keys_values"), r"reuse=keys_values: the streams .*use none"),
    "window": (arm(gradient="truncated"), r"window=1: the update of the answer alone .*use 2"),
    "last": (arm(steps=3, gradient="last"), r"gradient=last: the last cycle begins with the first step; use full"),
    "supervision": (arm(steps=3, supervision="ramp"), r"supervision=ramp: only one update of the answer"),
    "supervised": (arm(supervision="ramp", supervised=3), r"supervised=3: choose 2\.\.2, updates of the answer"),
    "controller": (replace(arm(steps=3), controller=HRMConfig(2)), r"steps=3: a controller reads the answer.*choose 6"),
    "halting": (replace(arm(steps=3), halting=EntropyHalting()), r"halting.name=entropy: the answer is updated once"),
    "embedding": (
        replace(ROUTED, refinement=RefinementConfig(2, initial_state=FixedState())),
        r"initial_state.name=fixed: nothing would read the embedding; use arm.refinement.injection=input",
    ),
    "noise": (replace(ROUTED, refinement=RefinementConfig(noise=0.1)), r"noise=0.1: it is added between steps"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_is_refused_with_a_remedy(name: str) -> None:
    refused, message = REFUSED[name]
    with pytest.raises(InputError, match=f"^arm.*{message}"):
        check(refused, TaskFacts(), SHAPE)


def test_a_target_for_each_step_asks_for_an_answer_at_each_step() -> None:
    with pytest.raises(InputError, match=r"recursion: the task has a target for each step.*every 3 steps"):
        check(arm(supervision="uniform"), TaskFacts(targets=3), SHAPE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: TwoStreams(1), "period=1: choose at least 2"),
        (lambda: TwoStreams(3, 3), "networks=3: choose 1 or 2"),
        (lambda: RandomState(0), "std=0: choose a number above 0"),
        (lambda: RefinementConfig(noise=-1), "noise=-1: choose 0 or more"),
        (lambda: RefinementConfig(steps=5, recursion=TwoStreams(3)), "choose a multiple of 3"),
        (
            lambda: RefinementConfig(recursion="two"),
            "not a part of that kind; derive its class from",
        ),
    ],
)
def test_impossible_settings_are_one_line(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change()


def test_planted_gradient_through_the_cycles_that_are_not_trained_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RefinementConfig, "first_with_gradient", lambda self, period: 1)
    with pytest.raises(AssertionError):
        test_two_streams_are_the_published_recursion_in_outputs_and_gradients(of_trm)


def test_planted_latent_that_is_not_carried_over_segments_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Refiner.forward

    def forgetful(self: Refiner, x: Tensor, mask: Any, carry: Any = None, *rest: Any) -> Any:
        fresh = self.initial_state.vectors[1].expand_as(x)
        return forward(self, x, mask, carry and replace(carry, latent=fresh), *rest)

    monkeypatch.setattr(Refiner, "forward", forgetful)
    with pytest.raises(AssertionError):
        test_two_streams_are_the_published_recursion_in_outputs_and_gradients(of_trm)


def test_planted_read_out_of_latent_updates_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    written = TwoStreams.written
    monkeypatch.setattr(TwoStreams, "written", lambda self, t, new, *old: (new, written(self, t, new, *old)[1]))
    with pytest.raises(AssertionError):
        test_two_streams_are_the_published_recursion_in_outputs_and_gradients(of_trm)
    monkeypatch.undo()
    monkeypatch.setattr(TwoStreams, "answers", lambda self, step: True)
    with pytest.raises((AssertionError, StopIteration)):
        test_only_answers_are_read_out_and_supervised(1)


def test_a_routed_trm_is_one_line_and_trains_every_parameter() -> None:
    words = ["trm:router.name=learned,gate.name=sigmoid"]
    ((_, config),) = load_arms(words, ["task=sorting_hints"])
    check(config.arm, TaskFacts(), SHAPE)
    assert config.arm.router == LearnedRouter()
    assert unreached(perturbed(config.arm)) == []
    assert unmoved(perturbed(config.arm)) == []


def test_statistics_tell_the_layers_of_two_networks_apart(tmp_path: Path) -> None:
    """Two are applied at a step, of four: each is said to use the heads that its own router has on."""
    loop = {"recursion": {"name": "two_streams", "period": 2, "networks": 2}, "steps": 4}
    config = tiny(tmp_path, {"router": {"name": "static", "k": 1}, "refinement": loop})
    config = replace(config, model=replace(config.model, depth=2, heads=8, width=16))
    data = data_of(config)
    model = build_model(config, data.facts)
    line = score(model, data.split("test"), 8).routing
    assert [layer["load"] for layer in line["layers"]] == [own.chosen.tolist() for own in model.backbone.routers()]
    assert len({tuple(layer["load"]) for layer in line["layers"]}) > 1
    assert [len(step) for step in line["gates"]] == [2] * 4
    assert len(line["residuals"]) == 2
