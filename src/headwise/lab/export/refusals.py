"""What no graph of a fixed number of steps can hold, each with its reason and a remedy."""

from collections.abc import Iterator

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.reasoning import HALTING
from headwise.registry import name_of
from headwise.tasks.base import Task


def refuse(task: type[Task], arm: Arm, steps: int | None) -> None:
    """Refuse what cannot be exported.

    Args:
        task: of the run.
        arm: of the run.
        steps: of the loop unrolled; None: one step at a time.

    Raises:
        InputError: one line with the reason and the remedy.
    """
    for message in refusals(task, arm, steps):
        raise InputError(message)


def refusals(task: type[Task], arm: Arm, steps: int | None) -> Iterator[str]:
    """All reasons, the first one first."""
    if task.brings_stack:
        yield (
            f"task={task.name}: its model is that of the transformers library, of which optimum makes ONNX files; "
            "headwise exports the tasks with a backbone of its own"
        )
        return
    halting = name_of(HALTING, type(arm.halting))
    if arm.halting.judges and steps is not None:
        yield (
            f"steps={steps}: arm.halting={halting} stops each example where it judges its answer right, unrolled steps "
            "do not stop; leave steps= out, for one step at a time with its judgement"
        )
    elif arm.halting.halts and not arm.halting.judges:
        remedy = (
            "a run with arm.halting=fixed has none" if arm.halting.learned else "add arm.halting=fixed for all steps"
        )
        yield f"arm.halting={halting}: stops each example inside of the loop, which no fixed graph does; {remedy}"
    loop = arm.refinement
    unit = loop.recursion.cycle if loop.segments == 1 else loop.steps
    if steps is not None and (steps < 1 or steps % unit):
        yield (
            f"steps={steps}: choose a multiple of {unit}, after which an answer is read out"
            if unit > 1
            else (f"steps={steps}: choose at least 1")
        )
    if arm.refinement.initial_state.draws:
        yield (
            "arm.refinement.initial_state=random: draws its start with whole numbers of 64 bits that wrap around, "
            "which ONNX does not define; export a run with initial_state=embedding or fixed"
        )
