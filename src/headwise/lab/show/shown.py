"""A run and one of its examples, or one that was typed, made ready for a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwise.errors import InputError
from headwise.lab.formatting import format_quantity
from headwise.lab.show.packing import packed
from headwise.lab.show.watch import Watched, watch
from headwise.schema import to_plain
from headwise.tasks.scenes import Example
from headwise.training.opened import OpenRun


@dataclass(frozen=True)
class Shown:
    """A run watched on an example.

    Attributes:
        label: the run, in a few words.
        watched: what it did.
        ended: how it ended, in a sentence.
        metric: which of the metrics is shown; empty where none is.
    """

    label: str
    watched: Watched
    ended: str
    metric: str

    def data(self, budget: int) -> dict[str, Any]:
        """For `component`; `budget` is that of `packing.packed`."""
        named = {"label": self.label, "ended": self.ended, "metric": self.metric}
        return named | {"metric_name": self.metric.replace("_", " ")} | packed(self.watched, budget)


def shown(run: OpenRun, example: Example) -> Shown:
    """The model of a run on an example."""
    watched, task = watch(run.model, example), run.model.task
    metric = (task.exact or task.metric) if example.solved else ""
    return Shown(label(run), watched, ended(watched, metric), metric)


def label(run: OpenRun) -> str:
    """Arm and seed."""
    return f"{run.config.name}, seed {run.config.seed}"


def ended(watched: Watched, metric: str) -> str:
    """How many steps it took, and whether the answer is right where a metric says so."""
    taken = watched.numbers[-1]
    steps = format_quantity(taken, "step")
    value = watched.metrics[-1].get(metric) if watched.metrics else None
    verdict = {1.0: "solved", 0.0: "not solved"}.get(value) if value is not None else None
    if watched.halted:
        return f"{f'{verdict}, ' if verdict else ''}halted after {taken} of {watched.most} steps"
    return f"{verdict} in {steps}" if verdict else f"took {steps}"


def check_alike(first: OpenRun, second: OpenRun, example: Example) -> None:
    """Refuse two runs of which the second cannot look at an example of the first.

    Raises:
        InputError: they are of different tasks, or their data differ in kind.
    """
    one, other = first.config.entry.name, second.config.entry.name
    if one != other:
        raise InputError(
            f"{first.directory} is a run of task={one}, {second.directory} one of task={other}; give two of one task"
        )
    same = first.model.task.facts == second.model.task.facts
    if not same or example.batch.keys() != second.example().batch.keys():
        mine, theirs = to_plain(first.config.task), to_plain(second.config.task)
        apart = [f"task.{key}={mine[key]} and {theirs[key]}" for key in mine if mine[key] != theirs.get(key)]
        raise InputError(
            f"{second.directory} reads other examples than {first.directory} ({', '.join(apart[:3]) or 'other data'}); "
            "give two runs on the same data"
        )


def facts(shown: Shown) -> Mapping[str, Any]:
    """What `--json` says of a run that is shown."""
    watched = shown.watched
    return {
        "label": shown.label,
        "steps": watched.numbers[-1],
        "most": watched.most,
        "halted": watched.halted,
        "said": watched.scene.answers[-1]["said"],
        "confidence": watched.scene.answers[-1]["confidence"],
        "metrics": dict(watched.metrics[-1]) if watched.metrics else {},
    }
