"""What there is to choose from, by kind: each member described where it is defined, and nothing of it imported."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from headwise.commands.settings import every, find
from headwise.files import read_yaml
from headwise.sources import Instance, value
from headwise.training.loadable import loadable
from headwise.training.presets import presets


def _choices(key: str) -> Callable[[], dict[str, str]]:
    """What collects the names that a key takes, each with the first line of its docstring."""
    return lambda: {name: cls.summary for setting in find(key) for name, cls in (setting.field.choices or {}).items()}


def _encoders() -> dict[str, str]:
    (parsing,) = (each for each in find("task.encoder") if each.under == "task=parsing")
    return {name: cls.summary for name, cls in (parsing.field.choices or {}).items()}


def data_sets() -> dict[str, str]:
    """Names that `headwise data get` takes."""
    return _described("headwise.tasks.data_sets:DATA_SETS", "{setting} ({licence})")


def claims() -> dict[str, str]:
    """Names that `headwise claims` takes."""
    folder = Path(__file__).parents[1] / "conf" / "claims"
    return {file.stem: read_yaml(file)["title"] for file in sorted(folder.glob("*.yaml"))}


def sizes() -> dict[str, str]:
    """Names that `model.size` takes."""
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


KINDS: dict[str, tuple[str, Callable[[], dict[str, str]]]] = {
    "arms": ("arm=...", lambda: presets("arm")),
    "tasks": ("task=...", lambda: presets("task")),
    "routers": ("arm.router=...", _choices("arm.router")),
    "gates": ("arm.gate=...", _choices("arm.gate")),
    "controllers": ("arm.controller=...", _choices("arm.controller")),
    "halting": ("arm.halting=...", _choices("arm.halting")),
    "recursions": ("arm.refinement.recursion=...", _choices("arm.refinement.recursion")),
    "states": ("arm.refinement.initial_state=...", _choices("arm.refinement.initial_state")),
    "recipes": ("training=...", lambda: presets("training")),
    "presets": ("training.preset=...", _choices("training.preset")),
    "sweeps": ("headwise sweep sweep=...", lambda: presets("sweep")),
    "claims": ("headwise claims run ...", claims),
    "sizes": ("model.size=...", sizes),
    "encoders": ("task=parsing task.encoder=...", _encoders),
    "datasets": ("headwise data get", data_sets),
    "weights": ("headwise.load(...), headwise evaluate ...; docs/weights.md", _weights),
    "settings": ("key=..., its default; headwise help <key> says more", _settings),
}
"""Kind -> what takes one of its names, and what collects them."""
