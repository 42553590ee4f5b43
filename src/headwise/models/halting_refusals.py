"""What is refused of halting by a judgement of the answer: see `headwise.models.refusals`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headwise.reasoning import CONTROLLERS, HALTING
from headwise.registry import name_of
from headwise.routing import ROUTERS

if TYPE_CHECKING:
    from headwise.models.arm import Arm
    from headwise.models.refusals import TaskFacts


def of_judgement(arm: Arm, task: TaskFacts) -> Iterator[str]:
    """Every reason not to judge answers at the ends of segments."""
    halting, loop = arm.halting, arm.refinement
    if not halting.judges:
        return
    key = f"arm.halting.name={name_of(HALTING, type(halting))}"
    if loop.segments == 1:
        yield (
            f"{key}: answers are judged after each segment, and there is 1; choose arm.refinement.segments=2 or more, "
            "or halting fixed"
        )
    if not task.judged:
        yield (
            f"{key}: learns from whether an answer is right as a whole, and the task has no metric that says so; use "
            "fixed, or a task such as maze, maze_characters, sorting or walk"
        )
    if task.targets:
        yield (
            f"{key}: the task has a target for each step, so no answer but the last one is the right one; use fixed, "
            "or targets of the task for the answer alone"
        )
    if arm.router.follows_route:
        yield (
            f"{key}: router {name_of(ROUTERS, type(arm.router))} follows a relation at each step to the last, and an "
            "example that stops before has not arrived; use fixed"
        )
    if halting.streams:
        yield from _of_streaming(arm)


def _of_streaming(arm: Arm) -> Iterator[str]:
    """What asks that all examples of a batch have taken the same steps."""
    controller, loop = arm.controller, arm.refinement
    remedy = "the examples of a streaming batch have taken different numbers of steps"
    if controller.learns_schedule:
        yield (
            f"arm.controller.name={name_of(CONTROLLERS, type(controller))}: decides itself when its slow module runs; "
            f"{remedy}, so that its cost would be that of none of them; use hrm, or arm.halting.streaming=false"
        )
    if (period := controller.slow_period) is not None and loop.steps % period:
        yield (
            f"arm.controller.period={period}: {remedy}, and its slow module runs for all at once; choose a divisor of "
            f"arm.refinement.steps={loop.steps}, or arm.halting.streaming=false"
        )
