"""`headwise list`: what there is to choose from, each described where it is defined."""

import inspect
from collections.abc import Callable, Mapping

from headwise.commands.result import Result, key_values
from headwise.errors import InputError


def run(words: list[str]) -> Result:
    """All kinds, or those named in `words`: {kind: {name: one line}}."""
    from headwise.training.configuration import suggestion

    for word in words:
        if word not in KINDS:
            raise InputError(f"list {word}: unknown kind; allowed: {', '.join(KINDS)}{suggestion(word, KINDS)}")
    found = {kind: KINDS[kind][1]() for kind in words or KINDS}
    tables = [key_values(lines, title=f"\n{kind} ({KINDS[kind][0]})") for kind, lines in found.items()]
    return Result(found, tables)


def _arms() -> dict[str, str]:
    return _files("arm")


def _tasks() -> dict[str, str]:
    return _files("task")


def _recipes() -> dict[str, str]:
    return _files("training")


def _routers() -> dict[str, str]:
    from headwise.routing import ROUTERS

    return ROUTERS.summaries()


def _gates() -> dict[str, str]:
    from headwise.routing import GATES

    return GATES.summaries()


def _controllers() -> dict[str, str]:
    from headwise.reasoning import CONTROLLERS

    return CONTROLLERS.summaries()


def _halting() -> dict[str, str]:
    from headwise.reasoning import HALTING

    return HALTING.summaries()


def _presets() -> dict[str, str]:
    from headwise.training.optim import PRESETS

    return _documented(PRESETS)


def _encoders() -> dict[str, str]:
    from headwise.tasks.parsing.config import ENCODERS

    return _documented(ENCODERS)


def _data_sets() -> dict[str, str]:
    from headwise.tasks.data_sets import DATA_SETS

    return {name: f"{found.setting} ({found.licence})" for name, found in DATA_SETS.items()}


def _sizes() -> dict[str, str]:
    from headwise.models.sizes import SIZES

    return {
        name: f"width {size.width}, {size.heads} heads, FFN {size.ffn}, {size.depth} blocks"
        for name, size in SIZES.items()
    }


# Kind -> what takes one of its names, and what collects them
KINDS: dict[str, tuple[str, Callable[[], dict[str, str]]]] = {
    "arms": ("arm=...", _arms),
    "tasks": ("task=...", _tasks),
    "routers": ("arm.router=...", _routers),
    "gates": ("arm.gate=...", _gates),
    "controllers": ("arm.controller=...", _controllers),
    "halting": ("arm.halting=...", _halting),
    "recipes": ("training=...", _recipes),
    "presets": ("training.preset=...", _presets),
    "sizes": ("model.size=...", _sizes),
    "encoders": ("task=parsing task.encoder=...", _encoders),
    "datasets": ("headwise data get", _data_sets),
}


def _files(group: str) -> dict[str, str]:
    from headwise.training.configuration import presets

    return presets(group)


def _documented(registry: Mapping[str, type]) -> dict[str, str]:
    """Name -> first line of the docstring of what it stands for."""
    return {name: (inspect.getdoc(cls) or "").partition("\n")[0] for name, cls in registry.items()}
