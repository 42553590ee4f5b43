"""The arms of a control: one loop for all of them, without a router, with routers that learn, with controls that choose
nothing, and with the right heads opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.routing.fixed_routers import StaticRouter
from headwise.routing.routers import NoRouter
from headwise.schema import build
from headwise.training import configuration
from headwise.training.config import RunConfig
from headwise.training.presets import preset
from headwise.training.quoting import key_of

ARMS = ("looped", "gated", "hrm", "hrm_token", "random", "static", "oracle")
"""The reference first; of these a task's own control takes those that the task does not refuse."""
KNOWN = "walk"
"""The task of which it is known that routing helps; the setting in which it does is `conf/control/walk.yaml`."""
STEPS = 6
"""Refinement steps on a task that does not say how many relations are to be followed: as many as `looped` has."""

SEEDS = 3


@dataclass(frozen=True)
class Chosen:
    """What a control compares.

    Attributes:
        known: whether on the setting in which routing is known to help.
        arms: label and configuration, the reference first.
        steps: of the loop.
        left_out: arms of `ARMS` that the task refuses, and its reason.
        seeds: how many, where nothing is said of them.
    """

    known: bool
    arms: list[tuple[str, RunConfig]]
    steps: int
    left_out: dict[str, str]
    seeds: int = SEEDS

    @property
    def reference(self) -> tuple[str, RunConfig]:
        """The arm without a router."""
        return self.arms[0]

    @property
    def routed(self) -> tuple[str, RunConfig]:
        """The first arm with a router that learns."""
        return next(item for item in self.arms if item[1].arm.router.learned)


def choose(names: Sequence[str] | None = None, settings: Sequence[str] = (), steps: int | None = None) -> Chosen:
    """The arms, in one loop, on the task that the settings choose or else on `KNOWN`.

    Args:
        names: arms as for `load_arms`, the reference first; default `ARMS`. A name alone is put into the loop, one with
            settings of its own is taken as it is.
        settings: of all runs.
        steps: of the loop; default the most relations that the task's route follows, or else `STEPS`.

    Raises:
        InputError: as `load_arms`; a reference with a router, or no arm with a router that learns.
    """
    known = not any(key_of(word) in ("task", "task.name") for word in settings)
    recipe: dict[str, Any] = preset("control", KNOWN) if known else {}
    own, seeds = recipe.pop("arms", {}), recipe.pop("seeds", SEEDS)
    words = [f"task={KNOWN}", *settings] if known else list(settings)
    if steps is None:
        hops = configuration.task_facts(words, recipe).hops
        steps = max(2, hops) if hops else STEPS
    elif steps < 2:
        raise InputError(f"steps={steps}: a loop takes 2 or more")
    arms: list[tuple[str, RunConfig]] = []
    left_out: dict[str, str] = {}
    for name in ARMS if names is None else names:
        heads = arms[0][1].model.heads if arms else None
        entry = name if ":" in name else ",".join(filter(None, [_in_loop(name, steps, heads), own.get(name)]))
        try:
            ((label, config),) = configuration.load_arms([entry], words, recipe=recipe)
        except InputError as error:
            if names is not None or not arms:
                raise
            left_out[name] = str(error)
        else:
            arms.append((label if ":" in name else name, config))
    _check(arms, left_out)
    return Chosen(known, arms, steps, left_out, seeds)


def _in_loop(name: str, steps: int, heads: int | None) -> str:
    """An arm as `load_arms` takes it, in a loop of so many steps, with what it needs to fit: a slow module that runs
    more than once, and half of the heads where a number of them is fixed."""
    arm = build(Arm, preset("arm", name), "arm")
    recursion = arm.refinement.recursion
    steps = recursion.cycle * max(2, round(steps / recursion.cycle)) if recursion.cycle > 1 else steps
    words = [f"refinement.steps={steps}"] + ["refinement.injection=input"] * (not recursion.injects)
    period = arm.controller.slow_period
    if period is not None and period >= steps:
        words.append(f"controller.period={steps - 1}")
    if isinstance(arm.router, StaticRouter) and heads is not None:
        words.append(f"router.k={max(1, heads // 2)}")
    return f"{name}:{','.join(words)}"


def _check(arms: Sequence[tuple[str, RunConfig]], left_out: dict[str, str]) -> None:
    if not arms:
        raise InputError("arms=[]: name the reference, such as looped, and an arm with a router, such as gated")
    (first, config), labels = arms[0], ",".join(label for label, _ in arms)
    if not isinstance(config.arm.router, NoRouter):
        raise InputError(f"arms=[{labels}]: {first}, the reference, has a router; name one without first, as looped")
    if not any(config.arm.router.learned for _, config in arms):
        reason = f" ({next(iter(left_out.values()))})" if left_out else ""
        raise InputError(f"arms=[{labels}]: none has a router that learns; name one as well, as gated{reason}")
