"""The settings of a run, by key, as the sources describe them: groups, their keys, and what a name chooses.

training.updates        a key of the group `training`
arm.gate                a key that takes one of several names, each with keys of its own: arm.gate.k
task.length             the same for `task`, whose names are the tasks
launcher                not of a run but of the commands that train several
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from headwise.errors import InputError
from headwise.schema import suggestion
from headwise.sources import ClassSource, Field, Instance, class_of, value
from headwise.tasks import TASKS
from headwise.training.presets import defaults

ROOT = "headwise.training.config:RunConfig"
COMMAND = "headwise.commands.compare:Options"


@dataclass(frozen=True)
class Setting:
    """One key and what there is to say about it.

    Attributes:
        key: with dots, from the top.
        field: the field that it sets; `headwise.sources` has it from the dataclass.
        under: the name that its group must have for this key to be there, `arm.gate=top_k`; None where it always is.
        group: the keys below it; empty of a plain value.
    """

    key: str
    field: Field
    under: str | None = None
    group: tuple["Setting", ...] = dataclasses.field(default=(), repr=False)

    @property
    def plain(self) -> dict[str, Any]:
        """What `--json` prints of it."""
        own = {"meaning": self.field.meaning, "allowed": self.field.allowed, "default": self.field.shown_default}
        return {**own, **({"under": self.under} if self.under else {})}


@cache
def settings() -> tuple[Setting, ...]:
    """Every group and every plain key at the top, with what lies below."""
    return tuple(_below("", class_of(ROOT), None))


def every(below: tuple[Setting, ...] | None = None) -> Iterator[Setting]:
    """All settings, a group before what it holds."""
    for each in settings() if below is None else below:
        yield each
        yield from every(each.group)


@cache
def of_commands() -> tuple[Setting, ...]:
    """The options of commands that take one of several names, each with keys of its own."""
    return tuple(each for each in _below("", class_of(COMMAND), None) if each.field.choices is not None)


def find(key: str) -> list[Setting]:
    """The settings at a key; several where different names of a group bring the same key along.

    Raises:
        InputError: there is none; with the keys that the group has.
    """
    known = [*every(), *every(of_commands())]
    found = [setting for setting in known if setting.key == key]
    if found:
        return found
    group, _, last = key.rpartition(".")
    above = [each for parent in known if parent.key == group for each in parent.group] if group else settings()
    names = list(dict.fromkeys(each.key.rpartition(".")[2] for each in above))
    if not names:
        return find(group)  # which says what is wrong further up
    where = f"{group} has" if group else "there are"
    raise InputError(f"help {key}: no such key; {where}: {', '.join(names)}{suggestion(last, names)}")


def task_classes() -> dict[str, ClassSource]:
    """Name of a task -> the dataclass of its settings."""
    found = {}
    for name in TASKS:
        entry = task_entry(name)
        if isinstance(config := entry.get("config"), ClassSource):
            found[name] = config
    return found


def task_entry(name: str) -> Mapping[str, Any]:
    """What the `ENTRY` of a task says, where its source tells without importing the task."""
    stated = value(TASKS.address(name))
    if isinstance(stated, Instance):
        return stated.arguments
    found = TASKS[name]
    config = value(f"{found.config.__module__}:{found.config.__qualname__}")
    return {"summary": found.summary, "commands": found.commands, "config": config}


def _below(where: str, cls: ClassSource, under: str | None) -> Iterator[Setting]:
    for each in cls.fields.values():
        key = f"{where}.{each.name}" if where else each.name
        if key == "task":
            each = Field(
                "task",
                f"one of {', '.join(TASKS)}",
                Instance(task_classes()[defaults()["task"]], {}),
                meaning=each.meaning,
                choices=task_classes(),
            )
        if each.choices is not None:
            group = tuple(s for name, choice in each.choices.items() for s in _below(key, choice, f"{key}={name}"))
        else:
            group = tuple(_below(key, each.nested, under)) if each.nested else ()
        yield Setting(key, each, under, group)
