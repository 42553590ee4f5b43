"""Halting by a judgement of the answer: what is read, when evaluation stops, what the judgement is taught."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from headwise.errors import InputError
from headwise.laws.arms import HRM, RECURSIVE, SHAPE, TaskFacts, perturbed
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.flops import flops_per_example
from headwise.reasoning.controllers import HRMActConfig
from headwise.reasoning.draws import keys_of
from headwise.reasoning.halting import Correct, CorrectHalting, PonderHalting
from headwise.reasoning.initial_states import RandomState
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.fixed_routers import OracleRouter
from headwise.routing.layout import Layout
from headwise.tasks import TASKS
from headwise.training.building import build_model, data_of
from headwise.training.objective import halting_loss, objective
from headwise.training.schedules import loss_weights
from tests.training.recipes import recipe, tiny

SINGLE = RefinementConfig(steps=2, injection="input", segments=4)
STREAMS = RefinementConfig(
    4, recursion=TwoStreams(2), initial_state=RandomState(), segments=3, supervision="uniform", noise=0.1
)
LOOPS = {"single": SINGLE, "two_streams": STREAMS}
JUDGED = TaskFacts(judged=True)


def judging(loop: RefinementConfig, **settings: Any) -> Backbone:
    """A backbone whose examples are judged differently: away from its start, and of large weights."""
    backbone = perturbed(replace(HRM, halting=CorrectHalting(bias=0.0, **settings), refinement=loop), seed=3)
    with torch.no_grad():
        backbone.refiner.halting.head.weight.mul_(3)
    return backbone


def inputs(count: int = 24) -> tuple[Tensor, Layout]:
    return torch.randn(count, 5, SHAPE.width, dtype=torch.float64), Layout(keys=keys_of(torch.arange(count)))


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_the_judgement_is_a_linear_map_of_the_first_real_token(pool: Any) -> None:
    judge = Correct(CorrectHalting(pool), 6).double()
    answer, mask = torch.randn(2, 4, 6, dtype=torch.float64), torch.ones(2, 4, dtype=torch.bool)
    mask[1, :2] = False
    assert judge(answer, mask).tolist() == [-5.0, -5.0]  # as published, at the start
    torch.nn.init.normal_(judge.head.weight)
    read = torch.stack([answer[0, 0], answer[1, 2]] if pool == "first" else [answer[0].mean(0), answer[1, 2:].mean(0)])
    normed = read / read.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(judge(answer, mask), normed @ judge.head.weight[0] - 5)


def test_with_pool_min_the_token_judged_worst_judges_the_answer_and_padding_does_not() -> None:
    judge = Correct(CorrectHalting("min"), 6).double()
    answer, mask = torch.randn(2, 4, 6, dtype=torch.float64), torch.ones(2, 4, dtype=torch.bool)
    mask[1, :2] = False
    torch.nn.init.normal_(judge.head.weight)
    each = answer / answer.square().mean(2, keepdim=True).sqrt() @ judge.head.weight[0] - 5
    torch.testing.assert_close(judge(answer, mask), torch.stack([each[0].min(), each[1, 2:].min()]))
    torch.testing.assert_close(judge(answer, None), each.amin(1))
    assert judge(answer, torch.zeros_like(mask)).isfinite().all()  # nor does an example without any token end a run
    assert (judge.macs(4), Correct(CorrectHalting(), 6).macs(4)) == (24, 6)


def test_norming_what_is_read_changes_nothing_where_blocks_norm_last() -> None:
    loop = replace(STREAMS, noise=0.0)
    backbone = perturbed(Arm(halting=CorrectHalting(), refinement=loop), shape=RECURSIVE)
    x, layout = inputs(3)
    trace = backbone(x, layout)
    plain = trace.states[-1][:, 0] @ backbone.refiner.halting.head.weight[0] + backbone.refiner.halting.head.bias
    torch.testing.assert_close(trace.halting, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", LOOPS)
def test_evaluation_stops_each_example_after_the_first_segment_whose_answer_is_judged_right(name: str) -> None:
    """Against the plain form: all segments one after the other, each example alone in its batch."""
    loop, (x, layout) = LOOPS[name], inputs()
    backbone = judging(loop).eval()
    with torch.no_grad():
        trace = backbone(x, layout, record=True)
        assert len(trace.steps.unique()) > 2, "examples must halt at different segments for this to say anything"
        full = Backbone(SHAPE, replace(backbone.arm, halting=PonderHalting())).double().eval()
        full.load_state_dict({k: v for k, v in backbone.state_dict().items() if "halting" not in k}, strict=False)
        full.refiner.halting = None
        for i in range(len(x)):
            own = Layout(keys=layout.keys[i : i + 1])
            for segment in range(1, loop.segments + 1):
                full.refiner.config = replace(loop, segments=segment)
                alone = full(x[i : i + 1], own)
                logit = backbone.refiner.halting(alone.carry.hidden, None)
                if logit > 0 or segment == loop.segments:
                    break
            assert trace.steps[i] == segment * loop.steps
            torch.testing.assert_close(trace.states[0, i], alone.states[-1, 0])
            torch.testing.assert_close(trace.halting[i], logit[0])
            torch.testing.assert_close(trace.carry.hidden[i], alone.carry.hidden[0])
            torch.testing.assert_close(trace.carry.state.fast[i], alone.carry.state.fast[0])


def test_an_answer_that_is_never_judged_right_takes_all_segments() -> None:
    x, layout = inputs(3)
    never = Backbone(SHAPE, Arm(halting=CorrectHalting(), refinement=SINGLE)).double().eval()
    assert never(x, layout).steps.tolist() == [8, 8, 8]
    with torch.no_grad():
        never.refiner.halting.head.bias.fill_(5)
    assert never(x, layout).steps.tolist() == [2, 2, 2]


def test_a_threshold_is_a_probability_that_the_judgement_has_to_exceed(tmp_path: Path) -> None:
    x, layout = inputs()
    backbone = judging(SINGLE).eval()
    taken = {}
    for threshold in (0.5, 0.9, 1.0):
        backbone.refiner.halting.level = CorrectHalting(threshold=threshold).level
        taken[threshold] = backbone(x, layout)
    assert (taken[0.5].steps <= taken[0.9].steps).all()
    stopped = taken[0.9].steps < SINGLE.steps_in_all
    assert stopped.any()
    assert not stopped.all()
    assert (taken[0.9].halting.sigmoid() > 0.9)[stopped].all()
    assert taken[1.0].steps.tolist() == [SINGLE.steps_in_all] * len(x)
    sure = tiny(tmp_path, SOLVED | {"halting": {"name": "correct", "bias": 1.0, "threshold": 0.7}})
    data = data_of(sure)
    model, batch = build_model(sure, data.facts), data.split("train").batch(torch.arange(8))
    weights = loss_weights(sure.training, 1)
    assert objective(model, batch, weights).halts.all()  # sigmoid(1) = 0.73
    model.backbone.arm = replace(model.backbone.arm, halting=CorrectHalting(threshold=0.75))
    assert not objective(model, batch, weights).halts.any()


def test_training_takes_a_segment_and_judges_its_answer_with_gradient() -> None:
    backbone = judging(STREAMS)
    backbone.norm = torch.nn.Identity()
    x, layout = inputs(3)
    trace = backbone(x, layout)
    torch.testing.assert_close(trace.halting, backbone.refiner.halting(trace.states[-1], None))
    assert not torch.equal(trace.states[-1], trace.carry.hidden)  # on which there is noise
    trace.halting.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in backbone.refiner.stack.parameters())


SOLVED = {"halting": {"name": "correct"}, "refinement": {"steps": 2, "injection": "input", "segments": 3}}


def test_the_judgement_is_taught_whether_the_answer_is_right(tmp_path: Path) -> None:
    """The loss by hand; and nothing of it reaches the read-out, by which the answer was found right."""
    config = tiny(tmp_path, SOLVED)
    data = data_of(config)
    model = build_model(config, data.facts)
    batch = data.split("train").batch(torch.arange(8))
    trace = model(batch)
    found = model.task.decoder.decode(model.task.read_out(trace.states[-1], batch))
    batch["ranks"][:4] = found[:4]  # four answers are right
    right = model.task.metrics(model.task.read_out(trace.states[-1], batch), batch)["perfect"]
    assert right[:4].tolist() == [1.0] * 4
    assert not right.all()
    q = trace.halting
    by_hand = -(right * F.logsigmoid(q) + (1 - right) * F.logsigmoid(-q)).mean()
    loss = halting_loss(model, batch, trace)
    torch.testing.assert_close(loss, by_hand)
    loss.backward()
    of_task = [p.grad for n, p in model.task.named_parameters() if n.startswith("scores")]
    assert of_task
    assert all(grad is None or not grad.any() for grad in of_task)
    weights = loss_weights(config.training, 1)
    assert weights["halting"] == 0.5  # no cost, so it need not wait for the task
    out, without = (objective(model, batch, weights | {"halting": w}) for w in (0.5, 0.0))
    torch.testing.assert_close(out.loss - without.loss, 0.5 * loss)
    torch.testing.assert_close(out.logs["halting"], loss.detach())


def test_flops_are_those_of_the_segments_taken() -> None:
    backbone = Backbone(SHAPE, Arm(halting=CorrectHalting(), refinement=SINGLE))
    plain = Backbone(SHAPE, Arm(refinement=SINGLE))
    for steps in (2, 8):
        assert flops_per_example(backbone, 5, steps) - flops_per_example(plain, 5, steps) == steps / 2 * 2 * SHAPE.width


def test_tasks_that_say_when_an_answer_is_right_say_so_to_the_check() -> None:
    judged = {name for name, entry in TASKS.items() if entry.task.declared(entry.config(**entry.example)).judged}
    assert {"maze", "maze_characters", "sorting", "walk"} <= judged
    assert not {"language", "parsing"} & judged
    assert judged == {name for name, entry in TASKS.items() if entry.task.exact is not None}


def arm(loop: RefinementConfig = SINGLE, **parts: Any) -> Arm:
    return replace(Arm(halting=CorrectHalting(), refinement=loop), **parts)


REFUSED = {
    "segments": (arm(replace(SINGLE, segments=1)), JUDGED, r"and there is 1; choose arm.refinement.segments=2 or more"),
    "task": (arm(), TaskFacts(), r"no metric that says so; use fixed, or a task such as maze"),
    "causal": (arm(), TaskFacts(True, judged=True), r"which a causal model must not; use fixed"),
    "targets": (
        arm(replace(SINGLE, supervision="uniform")),
        TaskFacts(targets=2, judged=True),
        r"a target for each step, so no answer but the last one .*use fixed",
    ),
    "route": (
        arm(router=OracleRouter()),
        TaskFacts(relations=("a",), hops=1, judged=True),
        r"has not arrived; use fix",
    ),
    "pace": (
        replace(HRM, controller=HRMActConfig(), halting=CorrectHalting(), refinement=SINGLE),
        JUDGED,
        r"decides itself when .*use hrm, or arm.halting.streaming=false",
    ),
    "period": (
        replace(HRM, halting=CorrectHalting(), refinement=replace(SINGLE, steps=3)),
        JUDGED,
        r"period=2: .*choose a divisor of arm.refinement.steps=3, or arm.halting.streaming=false",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_judged_is_refused_with_a_remedy(name: str) -> None:
    refused, facts, message = REFUSED[name]
    with pytest.raises(InputError, match=f"^arm.*{message}"):
        check(refused, facts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: CorrectHalting(threshold=0), r"threshold=0: choose a probability above 0, up to 1 \(never stop\)"),
        (lambda: CorrectHalting(exploration=1.5), r"exploration=1.5: choose a share of the examples, 0\.\.1"),
        (lambda: CorrectHalting(streaming=False, exploration=0.2), r"exploration=0.2: has an effect only with stream"),
    ],
)
def test_impossible_settings_are_one_line(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change()


def test_without_its_loss_the_judgement_would_learn_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training.losses.halting=0: nothing else teaches .*arm.halting.name=fixed"):
        replace(tiny(tmp_path, SOLVED), training=recipe(losses={"halting": 0.0}))


def test_planted_judgement_within_a_segment_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Backbone.forward

    def hasty(self: Backbone, *arguments: Any, **named: Any) -> Any:
        refiner = self.refiner
        if refiner.halting is not None:
            refiner.config = replace(refiner.config, steps=1, segments=8, recursion=refiner.config.recursion)
        return honest(self, *arguments, **named)

    monkeypatch.setattr(Backbone, "forward", hasty)
    with pytest.raises(AssertionError):
        test_evaluation_stops_each_example_after_the_first_segment_whose_answer_is_judged_right("single")
