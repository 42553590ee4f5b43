"""All combinations of what is registered that `check` admits, and some of them in which any two values meet."""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

from headwise.errors import InputError
from headwise.laws.arms import every_example
from headwise.models.arm import Arm, check
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.balance import BalanceConfig
from headwise.routing.gates import Gumbel, Sigmoid, Soft, TopK

from .arms import stand_in

ROUTERS, CONTROLLERS, HALTING = (every_example(key) for key in ("router", "controller", "halting"))
# One gate function that weighs all heads and one that chooses walk through the whole product; two more through all
# loops and controllers; they and the others, and those of plugins, through one loop of each kind.
FIXED = (Soft, TopK)
GATES = [gate for gate in every_example("gate") if type(gate) in FIXED and not getattr(gate, "renormalise", False)]
MIXTURES = [gate for gate in every_example("gate") if gate not in GATES]


def loops() -> Iterator[RefinementConfig]:
    for steps, gradient, injection in itertools.product((1, 5), ("full", "truncated", "last"), ("none", "input")):
        for supervision, reuse in itertools.product(("last", "uniform", "ramp"), ("none", "keys_values", "heads")):
            window = min(2, steps) if gradient == "truncated" else 1
            yield RefinementConfig(steps, gradient, window, injection, supervision, reuse)


# A gate function and a loop meet only in the gates that each step hands over, so the loops that the whole product has
# walked with these two are walked with the others by one example of each kind.
KINDS = [
    RefinementConfig(),
    RefinementConfig(5, injection="input", supervision="uniform"),
    RefinementConfig(5, "last", injection="input"),
    RefinementConfig(5, "truncated", 2, injection="input"),
    RefinementConfig(5, reuse="heads"),
]


def segmented() -> Iterator[RefinementConfig]:
    """Where the slow module of period 2 runs once in two segments, once a segment, or twice."""
    for steps, gradient, injection in itertools.product((1, 2, 4), ("full", "truncated", "last"), ("none", "input")):
        for supervision, reuse in itertools.product(("last", "uniform"), ("none", "keys_values", "heads")):
            window = min(3, steps) if gradient == "truncated" else 1
            yield RefinementConfig(steps, gradient, window, injection, supervision, reuse, 3)


def recursed() -> Iterator[RefinementConfig]:
    """Other recursions in one cycle and in two, and one stream from other initial states."""
    recursions, starts = (every_example(f"refinement.{key}") for key in ("recursion", "initial_state"))
    gradients = (("full", 1), ("truncated", 1), ("truncated", 2), ("last", 1))
    for recursion, cycles, segments in itertools.product(recursions, (1, 2), (1, 2)):
        for (gradient, window), supervision in itertools.product(gradients, ("last", "uniform")):
            steps = cycles * recursion.cycle
            loop = RefinementConfig(steps, gradient, min(window, steps), "none", supervision, segments=segments)
            yield replace(loop, recursion=recursion)
    for start, steps, injection in itertools.product(starts, (1, 4), ("none", "input")):
        yield RefinementConfig(steps, injection=injection, initial_state=start, noise=0.1 if steps > 1 else 0.0)
    for start, reuse in itertools.product(starts, ("none", "heads")):
        yield RefinementConfig(6, reuse=reuse, recursion=TwoStreams(3), initial_state=start)


def combinations() -> Iterator[tuple[Any, ...]]:
    yield from itertools.product(ROUTERS, GATES, ("mask_concat", "mixture"), CONTROLLERS, HALTING, loops())
    yield from itertools.product(ROUTERS, (Soft(),), ("mask_concat",), CONTROLLERS, HALTING, segmented())
    yield from itertools.product(ROUTERS, (Soft(), TopK(2)), ("mask_concat",), CONTROLLERS, HALTING, recursed())
    yield from itertools.product(
        ROUTERS[:1], (Gumbel(2), Sigmoid()), ("mask_concat",), CONTROLLERS, HALTING[:1], loops()
    )
    yield from itertools.product(ROUTERS, MIXTURES, ("mask_concat", "mixture"), CONTROLLERS, HALTING, KINDS)
    plain, gates = (BalanceConfig(),), (Soft(), TopK(2), Sigmoid())
    for beside in (("elementwise", 0), ("none", 2)):  # where heads are combined, and where they attend
        for part in itertools.product(ROUTERS, gates, ("mask_concat",), CONTROLLERS, HALTING[:1], KINDS, plain):
            yield (*part, *beside)


def judged(causal: bool) -> tuple[list[Arm], list[str]]:
    """Every combination that `check` lets through, and what it says of the others."""
    arms, refusals = [], []
    for part in combinations():
        arm = Arm(*part)
        refusal = refused(arm, causal)
        if refusal is None:
            arms.append(arm)
        else:
            refusals.append(refusal)
    return arms, refusals


def refused(arm: Arm, causal: bool) -> str | None:
    try:
        check(arm, *stand_in(arm, causal))
    except InputError as error:
        return str(error)
    return None


def is_one_line(refusal: str) -> bool:
    """Whether it names a key of the arm, and says the rest in the same line."""
    return refusal.startswith("arm.") and "\n" not in refusal


def covering(arms: Sequence[Arm], seed: int = 0) -> list[Arm]:
    """Some of these, the same at every call, in which any two values stand together that do so in one of all."""
    numbers: dict[Any, int] = {}
    met: set[tuple[int, int]] = set()
    chosen = []
    for arm in random.Random(seed).sample(arms, len(arms)):  # neighbours in the product share most of their pairs
        pairs = {*itertools.combinations([numbers.setdefault(value, len(numbers)) for value in values(arm)], 2)}
        if not pairs <= met:
            met |= pairs
            chosen.append(arm)
    return chosen


def values(arm: Arm) -> Iterator[tuple[str, Any]]:
    """What the arm says, key by key, and of its loop each key."""
    for part in (arm, arm.refinement):
        yield from ((field.name, getattr(part, field.name)) for field in fields(part) if field.name != "refinement")
