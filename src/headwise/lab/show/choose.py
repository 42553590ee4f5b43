"""Which example of a split is shown: by its number, or the first that was solved, failed, halted early, came late.

Legend: E examples, A updates of the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.models.backbone import Backbone
from headwise.models.following import following
from headwise.tasks.examined import batches_of
from headwise.training.opened import OpenRun

Choice = Literal["first", "solved", "failed", "halted", "latest"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
MEANINGS: dict[Choice, str] = {
    "first": "the first example",
    "solved": "the first that is solved",
    "failed": "the first that is not solved",
    "halted": "the first of those that stop earliest",
    "latest": "the first of those that are right latest",
}
"""What a choice takes, of the examples that were looked at."""
EXAMINED = 64
"""Examples among which one is chosen: some seconds at most, and enough for each kind where there are a few in ten."""
RIGHT = 1e-6


@dataclass(frozen=True)
class Looked:
    """What the examples looked at are chosen by, [E] each.

    Attributes:
        value: how good the last answer is; the best is the largest.
        best: the value of an answer that is right, or the largest there is.
        steps: refinement steps taken.
        since: the update since when the answer is right, from 1; 0 where it never is.
    """

    value: Tensor
    best: float
    steps: Tensor
    since: Tensor

    @property
    def right(self) -> Tensor:
        """bool [E]."""
        return self.value >= self.best - RIGHT


@torch.no_grad()
def look(run: OpenRun, split: str = "test") -> Looked:
    """What the model of a run does with the first examples of a split."""
    model, task, source = run.model, run.model.task, run.data.split(split)
    key = task.exact or task.metric
    sign = 1 if task.exact or task.higher_is_better else -1
    values, steps = list[Tensor](), list[Tensor]()
    follows = isinstance(model.backbone, Backbone) and not run.config.arm.halting.halts
    for batch in batches_of(model, source, EXAMINED, EXAMINED):
        if follows:  # every answer is there, of every example
            with following(model.backbone) as seen:
                trace = model(batch)
            states = [model.backbone.norm(state) for state in seen.states]
        else:
            trace = model(batch)
            states = [trace.states[-1]]
        found = [sign * task.metrics(task.read_out(state, batch), batch)[key].double() for state in states]
        values.append(torch.stack(found))  # [A, E]
        steps.append(trace.steps)
    every = torch.cat(values, 1).nan_to_num(-torch.inf)
    best = 1.0 if task.exact else float(every[-1].max())
    right = every >= best - RIGHT
    lasting = right.flip(0).cummin(0).values.sum(0)  # answers at the end that are right
    taken = torch.cat(steps)
    update = len(every) - lasting + 1 if follows else taken
    return Looked(every[-1], best, taken, torch.where(right[-1], update, 0))


def choose(seen: Looked, what: Choice) -> int | None:
    """The place of the example, None where there is none of the kind."""
    right = seen.right
    if what == "first":
        return 0
    if what == "halted":
        early = seen.steps == seen.steps.min()
        return None if early.all() else _first(early)
    if what == "latest":
        since = torch.where(right, seen.since, 0)
        return _first(right & (since == since.max()) & (since > 1))
    return _first(right if what == "solved" else ~right)


def chosen(run: OpenRun, what: Choice, split: str = "test") -> int:
    """The place of the example of that kind.

    Raises:
        InputError: there is none among those looked at.
    """
    if what == "first":
        return 0
    seen = look(run, split)
    place = choose(seen, what)
    if place is None:
        reason = {
            "solved": "none is solved",
            "failed": "all are solved",
            "halted": "all take as many steps",
            "latest": "no answer becomes right later than others",
            "first": "",
        }[what]
        raise InputError(
            f"choose={what}: of the first {len(seen.value)} {split} examples {reason}; name one: example=0"
        )
    return place


def _first(which: Tensor) -> int | None:
    found = torch.nonzero(which)
    return int(found[0, 0]) if len(found) else None
