"""`headwise list`: what there is to choose from, each described where it is defined; nothing of it is imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwise.commands.result import Result, key_values
from headwise.commands.settings import every, find
from headwise.errors import InputError
from headwise.files import read_yaml
from headwise.schema import argument, suggestion
from headwise.sources import Instance, value
from headwise.training.loadable import loadable
from headwise.training.presets import presets


@dataclass(frozen=True)
class Options:
    """List what there is to choose from: arms, tasks, gates, controllers, settings

    One line each.

    Args:
        kinds: arms, tasks, routers, gates, controllers, halting, recursions, states (initial ones), recipes, presets,
            sweeps, claims, sizes, encoders, datasets, weights (models to load), settings; without any, all but
            settings.
    """

    kinds: tuple[str, ...] = argument(())


def run(options: Options) -> Result:
    """All kinds, or those named: {kind: {name: one line}}."""
    for word in options.kinds:
        if word not in KINDS:
            raise InputError(f"list {word}: unknown kind; allowed: {', '.join(KINDS)}{suggestion(word, KINDS)}")
    chosen = options.kinds or [kind for kind in KINDS if kind != "settings"]
    found = {kind: KINDS[kind][1]() for kind in chosen}
    tables = [key_values(lines, title=f"\n{kind} ({KINDS[kind][0]})") for kind, lines in found.items()]
    return Result(found, tables)


def _tasks() -> dict[str, str]:
    return presets("task")


def _choices(key: str) -> Callable[[], dict[str, str]]:
    """What collects the names that a key takes, each with the first line of its docstring."""
    return lambda: {name: cls.summary for setting in find(key) for name, cls in (setting.field.choices or {}).items()}


def _encoders() -> dict[str, str]:
    (parsing,) = (each for each in find("task.encoder") if each.under == "task=parsing")
    return {name: cls.summary for name, cls in (parsing.field.choices or {}).items()}


def _data_sets() -> dict[str, str]:
    return _described("headwise.tasks.data_sets:DATA_SETS", "{setting} ({licence})")


def _claims() -> dict[str, str]:
    folder = Path(__file__).parents[1] / "conf" / "claims"
    return {file.stem: read_yaml(file)["title"] for file in sorted(folder.glob("*.yaml"))}


def _sizes() -> dict[str, str]:
    return _described("headwise.models.sizes:SIZES", "width {width}, {heads} heads, FFN {ffn}, {depth} blocks")


def _weights() -> dict[str, str]:
    return {name: f"{line} ({place or 'not on this machine'})" for name, (line, place) in loadable().items()}


def _described(place: str, text: str) -> dict[str, str]:
    """Name -> the arguments of what it stands for, put into the text."""
    found = value(place)
    members: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
    return {name: text.format(**one.arguments) for name, one in members.items() if isinstance(one, Instance)}


def _settings() -> dict[str, str]:
    lines: dict[str, str] = {}
    for each in every():
        if not each.group or each.field.choices is not None:
            key = f"{each.key} ({each.under})" if each.under else each.key
            default = each.field.shown_default
            lines[key] = f"{default if default is not None else '-'}; {each.field.meaning.partition('. ')[0]}"
    return lines


# Kind -> what takes one of its names, and what collects them
KINDS: dict[str, tuple[str, Callable[[], dict[str, str]]]] = {
    "arms": ("arm=...", lambda: presets("arm")),
    "tasks": ("task=...", _tasks),
    "routers": ("arm.router=...", _choices("arm.router")),
    "gates": ("arm.gate=...", _choices("arm.gate")),
    "controllers": ("arm.controller=...", _choices("arm.controller")),
    "halting": ("arm.halting=...", _choices("arm.halting")),
    "recursions": ("arm.refinement.recursion=...", _choices("arm.refinement.recursion")),
    "states": ("arm.refinement.initial_state=...", _choices("arm.refinement.initial_state")),
    "recipes": ("training=...", lambda: presets("training")),
    "presets": ("training.preset=...", _choices("training.preset")),
    "sweeps": ("headwise sweep sweep=...", lambda: presets("sweep")),
    "claims": ("headwise claims run ...", _claims),
    "sizes": ("model.size=...", _sizes),
    "encoders": ("task=parsing task.encoder=...", _encoders),
    "datasets": ("headwise data get", _data_sets),
    "weights": ("headwise.load(...), headwise evaluate ...; docs/weights.md", _weights),
    "settings": ("key=..., its default; headwise help <key> says more", _settings),
}
