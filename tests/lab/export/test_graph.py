"""A step that hands its state on, as often as it is applied, is the loop; for every arm, in double precision."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.lab.export.graph import OneStep, Pace, Unrolled, question, state_of
from headwise.lab.export.onnx_file import in_torch
from headwise.lab.export.refusals import refusals
from headwise.laws.arms import arms, fitted
from headwise.models.arm import Arm, check
from headwise.models.sizes import ModelConfig
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig
from headwise.tasks import TASKS
from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.sorting.model import SortingTask
from headwise.tasks.walk.model import WalkTask

SHAPE = ModelConfig(width=16, heads=4, ffn=24, depth=1, structural_heads=2)
WALK = TASKS["walk"]
CONFIG = WALK.config(nodes=6, relations=2, hops=3, validation_examples=4, test_examples=4)


def model_of(arm: Arm) -> tuple[TaskModel, Batch]:
    """On instructed walks, which have relations and a route, away from the start, and three of them."""
    data = WALK.data(CONFIG, 0)
    task = WALK.task(CONFIG, data.facts, SHAPE.width)
    model = TaskModel(task, task.stack(SHAPE, fitted(arm))).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model, data.split("test").batch(torch.arange(3))


def step_of(model: TaskModel, batch: Batch, arm: Arm) -> OneStep:
    return OneStep(model, question(model, batch), Pace.of(arm).times(1, arm.refinement), batch)


def rolled(graph: OneStep, batch: Batch, count: int, state: list[Tensor]) -> tuple[Tensor, ...]:
    """The outputs after so many steps; `state` is what the first is given beside zero steps taken."""
    found: tuple[Tensor, ...] = (*state,)
    taken = torch.zeros(len(batch["start"]), dtype=torch.int64)
    for _ in range(count):
        out = graph([*(batch[name] for name in graph.names), taken, *found])
        taken, found = out[1], out[2 : 2 + len(graph.state)]
    return out


def admitted() -> dict[str, Arm]:
    """The arms that walks take and that an export does not refuse."""
    found = {}
    for name, arm in arms().items():
        try:
            check(fitted(arm), replace(WALK.task.declared(CONFIG), targets=0), SHAPE)
        except InputError:
            continue
        if not [*refusals(WalkTask, arm, None)]:
            found[name] = arm
    return found


@pytest.mark.parametrize("name", admitted())
@torch.no_grad()
def test_steps_handed_on_are_the_loop(name: str) -> None:
    arm = fitted(admitted()[name])
    model, batch = model_of(arm)
    graph = step_of(model, batch, arm)
    # Whatever stands there at the start counts for nothing
    state = [torch.randn_like(part) for part in _states(graph, batch)]
    for count in (1, 3):
        out, expected = rolled(graph, batch, count, state), in_torch(graph, batch, count)
        assert len(out) == len(expected)
        for one, other in zip(out, expected, strict=True):
            torch.testing.assert_close(one, other)


def _states(graph: OneStep, batch: Batch) -> list[Tensor]:
    return [*state_of(graph.model(batch).carry).values()]


@torch.no_grad()
def test_examples_at_different_steps_go_through_one_graph() -> None:
    """One that starts afresh beside two that go on: as each alone."""
    arm = fitted(arms()["hrm"])
    model, batch = model_of(arm)
    graph = step_of(model, batch, arm)
    asked = [batch[name] for name in graph.names]
    zeros = [torch.zeros_like(part) for part in _states(graph, batch)]
    first = graph([*asked, torch.zeros(3, dtype=torch.int64), *zeros])
    taken = first[1] * torch.tensor([1, 0, 1])
    mixed = graph([*asked, taken, *first[2 : 2 + len(graph.state)]])
    second = graph([*asked, first[1], *first[2 : 2 + len(graph.state)]])
    torch.testing.assert_close(mixed[0][[0, 2]], second[0][[0, 2]])
    torch.testing.assert_close(mixed[0][1], first[0][1])


@torch.no_grad()
def test_what_an_example_is_scored_on_is_no_part_of_the_question() -> None:
    entry = TASKS["sudoku"]
    config = entry.config(size=4, train_puzzles=4, validation_puzzles=4, test_puzzles=4)
    data = entry.data(config, 0)
    task = entry.task(config, data.facts, 16)
    model = TaskModel(task, task.stack(replace(SHAPE, structural_heads=0), Arm())).eval()
    batch = data.split("test").batch(torch.arange(2))
    assert question(model, batch) == ("clues",)
    assert "solution" in batch


@pytest.mark.parametrize(
    ("loop", "controller", "steps"),
    [
        (RefinementConfig(steps=6), {}, 1),
        (RefinementConfig(steps=6, recursion=TwoStreams(3)), {}, 3),
        (RefinementConfig(steps=4, reuse="heads"), {}, 4),
    ],
)
def test_a_step_brings_what_goes_by_turns_back_to_where_it_was(
    loop: RefinementConfig, controller: dict[str, Any], steps: int
) -> None:
    assert Pace.of(Arm(refinement=loop)).in_all == steps


def test_a_slow_module_has_its_turn_in_a_step() -> None:
    assert Pace.of(arms()["hrm"]).in_all == arms()["hrm"].controller.slow_period


@pytest.mark.parametrize(
    ("name", "steps", "says"),
    [
        ("ponder_halting", None, "stops each example inside of the loop"),
        ("entropy_halting", None, "add arm.halting=fixed"),
        ("correct_halting", 6, "leave steps= out"),
        ("random_state", None, "initial_state=embedding"),
        ("trm", 20, "choose a multiple of"),
        ("looped", 0, "choose at least 1"),
    ],
)
def test_what_no_graph_holds_is_refused_with_the_remedy(name: str, steps: int | None, says: str) -> None:
    (message, *_) = refusals(SortingTask, arms()[name], steps)
    assert says in message


def test_halting_that_judges_is_exported_with_its_judgement() -> None:
    arm = fitted(arms()["correct_halting"])
    model, batch = model_of(arm)
    graph = step_of(model, batch, arm)
    with torch.no_grad():
        out = rolled(graph, batch, 1, _states(graph, batch))
        expected = in_torch(graph, batch, 1)
    assert len(out) == 2 + len(graph.state) + 1
    torch.testing.assert_close(out[-1], expected[-1])


@torch.no_grad()
def test_unrolled_steps_are_an_evaluation_with_so_many() -> None:
    arm = arms()["looped"]
    model, batch = model_of(arm)
    names = question(model, batch)
    model.backbone.refiner.config = replace(arm.refinement, steps=9)
    expected = model.task.read_out(model(batch).states[-1], batch)
    graph = Unrolled(model, names, Pace(9).times(1, arm.refinement))
    torch.testing.assert_close(graph([batch[name] for name in names])[0], expected)
