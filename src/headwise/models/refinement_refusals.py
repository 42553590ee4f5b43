"""What is refused of refinement: see `headwise.models.refusals`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headwise.reasoning import CONTROLLERS, INITIAL_STATES, RECURSIONS
from headwise.registry import name_of

if TYPE_CHECKING:
    from headwise.models.arm import Arm
    from headwise.reasoning.refinement import RefinementConfig


def of_refinement(arm: Arm, targets: int) -> Iterator[str]:
    """Every reason that lies in how the stack is iterated; `targets` as in `TaskFacts`."""
    yield from _of_gradient(arm)
    yield from _of_supervision(arm)
    yield from _of_targets(arm.refinement, targets)
    yield from _of_loop(arm.refinement)
    yield from _of_recursion(arm.refinement)
    yield from _of_segments(arm)
    yield from _of_reuse(arm)


def _of_gradient(arm: Arm) -> Iterator[str]:
    loop, period = arm.refinement, arm.controller.slow_period
    if loop.gradient != "truncated" and loop.window != 1:
        yield f"arm.refinement.window={loop.window}: has an effect only with arm.refinement.gradient=truncated"
    if loop.gradient == "full":
        return
    key, first = f"arm.refinement.gradient={loop.gradient}", loop.first_with_gradient(period)
    if not loop.reads_embedding:
        yield f"{key}: without arm.refinement.injection=input the embedding gets no gradient"
    if loop.reuse != "none":
        yield (
            f"{key}: reuse={loop.reuse} computes keys or heads in steps without gradient; use reuse=none or "
            "gradient=full"
        )
    if arm.controller.learns_schedule:
        name = name_of(CONTROLLERS, type(arm.controller))
        yield (
            f"{key}: {name} decides itself when the slow module runs, so no window is sure to hold an update; use full"
        )
    if loop.gradient == "truncated" and loop.window == loop.steps:
        yield f"arm.refinement.window={loop.window}: all {loop.steps} steps are in the window; use gradient=full"
    if loop.gradient == "last" and first == 1 and loop.steps > 1:
        what = "cycle begins with" if loop.recursion.cycle == loop.steps else "slow update is"
        yield f"{key}: the last {what} the first step; use full"
    if loop.gradient == "truncated" and loop.window < 2 <= loop.recursion.cycle:
        yield (
            f"arm.refinement.window={loop.window}: the update of the answer alone would be trained, which does not "
            "read the embedding; use 2 (the last step of each stream, as HRM) or more, or gradient=last"
        )
    if period is not None and not any((t - 1) % period == 0 for t in range(first, loop.steps + 1)):
        yield (
            f"arm.refinement.window={loop.window}: no update of the slow module (every {period} steps) falls into it, "
            "so it never trains; widen it or use gradient=last"
        )
    if loop.steps == 1:
        yield f"{key}: with 1 refinement step there is nothing to cut; use full"


def _of_supervision(arm: Arm) -> Iterator[str]:
    loop = arm.refinement
    trained = loop.answers_since(loop.first_with_gradient(arm.controller.slow_period))
    what = "step is trained" if loop.recursion.cycle == 1 else "update of the answer is trained"
    if loop.supervision != "last" and trained < 2:
        yield f"arm.refinement.supervision={loop.supervision}: only one {what}; use last or more steps"
    if loop.supervised is None:
        return
    key = f"arm.refinement.supervised={loop.supervised}"
    if loop.supervision == "last":
        yield f"{key}: has an effect only with arm.refinement.supervision=uniform or ramp"
    if not 1 < loop.supervised <= trained:
        what = "steps" if loop.recursion.cycle == 1 else "updates of the answer"
        yield f"{key}: choose 2..{trained}, {what} with gradient, or arm.refinement.supervision=last"


def _of_targets(loop: RefinementConfig, targets: int) -> Iterator[str]:
    if targets and loop.supervision == "last":
        yield (
            "arm.refinement.supervision=last: the task has a target for each step, and one alone would be seen; use "
            "uniform or ramp, or targets of the task for the answer alone"
        )
    if targets and loop.recursion.cycle > 1:
        yield (
            f"arm.refinement.recursion: the task has a target for each step, and the answer is updated every "
            f"{loop.recursion.cycle} steps; use recursion.name=single, or targets of the task for the answer alone"
        )
    if loop.steps_in_all < targets:
        yield (
            f"arm.refinement.steps={loop.steps}: the task has targets for {targets} steps, the last of them the "
            f"answer; choose {targets} or more"
        )


def _of_loop(loop: RefinementConfig) -> Iterator[str]:
    once = loop.steps_in_all == 1 and loop.initial_state.embeds
    if (once and loop.injection != "none") or (loop.steps == 1 and loop.reuse != "none"):
        yield (
            f"arm.refinement.steps=1: injection={loop.injection} and reuse={loop.reuse} act from the second step on; "
            "use none or more steps"
        )


def _of_recursion(loop: RefinementConfig) -> Iterator[str]:
    name, start = name_of(RECURSIONS, type(loop.recursion)), loop.initial_state
    start_name = name_of(INITIAL_STATES, type(start))
    if loop.recursion.injects and loop.injection != "none":
        yield (
            f"arm.refinement.injection={loop.injection}: recursion {name} reads the embedding as it is, and would read "
            "it twice; use none"
        )
    if loop.recursion.streams > 1 and loop.reuse != "none":
        yield (
            f"arm.refinement.reuse={loop.reuse}: the streams of recursion {name} have inputs, keys and values of their "
            "own; use none"
        )
    if not (start.embeds or loop.reads_embedding):
        yield (
            f"arm.refinement.initial_state.name={start_name}: nothing would read the embedding; use "
            "arm.refinement.injection=input, or initial_state.name=embedding"
        )
    if loop.noise and loop.steps_in_all == 1:
        yield (
            f"arm.refinement.noise={loop.noise}: it is added between steps, and there is 1; use 0 or more "
            "arm.refinement.steps"
        )


def _of_segments(arm: Arm) -> Iterator[str]:
    loop, period = arm.refinement, arm.controller.slow_period
    if loop.segments == 1:
        return
    key = f"arm.refinement.segments={loop.segments}"
    if not loop.reads_embedding:
        yield (
            f"{key}: later segments start from a detached state, so without arm.refinement.injection=input they do "
            "not train the embedding"
        )
    if arm.halting.learned:
        yield (
            f"{key}: ponder halting learns where to stop within one segment and would never reach another; use "
            "fixed, entropy or correct, or segments=1"
        )
    if loop.gradient != "full" and period is not None and loop.steps % period:
        yield (
            f"{key}: with gradient={loop.gradient} the window would lie differently in each segment; choose "
            f"arm.refinement.steps a multiple of {period} (the controller's period)"
        )


def _of_reuse(arm: Arm) -> Iterator[str]:
    if arm.refinement.reuse == "heads" and arm.composition_rank:
        yield (
            f"arm.composition_rank={arm.composition_rank}: with arm.refinement.reuse=heads all steps would keep the "
            "composition that the first one's queries asked for; use reuse=keys_values or none"
        )
    elif (
        arm.refinement.reuse == "heads"
        and not (arm.router.scores or arm.router.follows_route)
        and arm.output_gate == "none"
    ):
        yield (
            "arm.refinement.reuse=heads: only the gates change over steps, and this arm has none that do; use "
            "keys_values"
        )
