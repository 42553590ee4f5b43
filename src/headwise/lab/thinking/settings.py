"""What is asked of a run: how many steps, how many restarts, with what noise, and which answer is taken of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headwise.errors import InputError
from headwise.lab.thinking.selection import RULES
from headwise.reasoning.depth import Depth, depth_of
from headwise.schema import short, suggestion
from headwise.tasks.base import Task
from headwise.training.config import RunConfig

Every = Literal["step", "segment"]


@dataclass(frozen=True)
class Asked:
    """What is measured.

    Attributes:
        depths: numbers of steps, rising.
        restarts: numbers of restarts, rising.
        noise: standard deviation on the path.
        every: steps after which it is added.
        rules: by which one of several answers is taken.
    """

    depths: tuple[Depth, ...]
    restarts: tuple[int, ...]
    noise: float
    every: int
    rules: tuple[str, ...]

    @property
    def most(self) -> int:
        """The most restarts."""
        return self.restarts[-1]


def asked_of(
    config: RunConfig,
    steps: Any = None,
    restarts: Any = None,
    noise: float = 0.0,
    noise_every: Every = "step",
    select: Any = None,
    tells: bool = True,
) -> Asked:
    """What is asked, of a run with this configuration; the defaults are those of `headwise think`.

    Args:
        tells: whether its halting says how sure it is of an answer.

    Raises:
        InputError: a value that means nothing for it.
    """
    loop, task = config.arm.refinement, config.entry.task
    if task.brings_stack:
        raise InputError(f"task={config.entry.name}: its model is applied once, and no step can be added")
    if not noise >= 0:
        raise InputError(f"noise={noise}: choose a standard deviation of 0 or more")
    if noise_every == "segment" and not noise:
        raise InputError("noise_every=segment: there is no noise; add noise=0.1, say")
    draws = loop.initial_state.draws or noise > 0
    counts = _listed(restarts, (1, 4, 16) if draws else (1,))
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise InputError(f"restarts={short(count)}: choose whole numbers of 1 or more")
        if count > 1 and not draws:
            raise InputError(
                f"restarts={count}: every one would answer the same, as nothing is drawn; add noise=0.1, say, or train "
                "with arm.refinement.initial_state=random"
            )
    depths = {depth.steps: depth for value in _listed(steps, ("1x", "2x", "4x")) for depth in [depth_of(value, loop)]}
    if not depths or not counts:
        raise InputError(f"{'restarts' if depths else 'steps'}=[]: name at least one number")
    return Asked(
        tuple(depths[number] for number in sorted(depths)),
        tuple(sorted(set(counts))),
        float(noise),
        loop.steps if noise_every == "segment" else 1,
        _rules(config.entry.name, task, select, tells),
    )


def answers(task: type[Task]) -> bool:
    """Whether the task tells answers apart."""
    return task.answer is not Task.answer


def checks(task: type[Task]) -> bool:
    """Whether the task can check an answer without the solution."""
    return task.valid is not Task.valid


def _rules(name: str, task: type[Task], select: Any, tells: bool) -> tuple[str, ...]:
    """The rules that are wanted; by default all that the run can have."""
    wanting = {
        "halting": None if tells else "the arm has learned no halting that says how sure it is of an answer",
        "majority": None if answers(task) else f"task={name} does not tell answers apart",
        "valid": None if checks(task) else f"task={name} has no check of an answer without the solution",
    }
    there = [rule for rule in RULES if wanting.get(rule) is None]
    rules = _listed(select, there)
    for rule in rules:
        if not isinstance(rule, str) or rule not in RULES:
            near = suggestion(rule, RULES) if isinstance(rule, str) else ""
            raise InputError(f"select={short(rule)}: unknown; there are: {', '.join(RULES)}{near}")
        if (reason := wanting.get(rule)) is not None:
            raise InputError(f"select={rule}: {reason}; choose among {', '.join(there)}")
    if not rules:
        raise InputError(f"select=[]: name at least one of {', '.join(there)}")
    return tuple(dict.fromkeys(rules))


def _listed(value: Any, default: Sequence[Any]) -> list[Any]:
    if value is None:
        return list(default)
    return list(value) if isinstance(value, (list, tuple)) else [value]
