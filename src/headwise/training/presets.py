"""Named values for a task, an arm or a recipe, chosen with `task=`, `arm=`, `training=`: files of `conf`, of folders of
the user's own, and what plugins register.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_text, read_yaml, user_path
from headwise.models import ARMS
from headwise.registry import Registry
from headwise.schema import short, suggestion, to_plain
from headwise.tasks import TASKS

CONF = Path(__file__).parents[1] / "conf"
GROUPS = ("task", "arm", "training")
DEEPEST = 16
"""Mappings and lists within each other; the deepest setting there is lies at four."""
MOST_VALUES = 2_000
"""Values in a file of `conf`, with what it refers to written out."""
VARIABLE = "HEADWISE_CONF"
"""Names folders of the user's own, like `headwise/conf`, in the environment, separated as in PATH."""

_REGISTRIES: dict[str, Registry[Any]] = {"task": TASKS, "arm": ARMS}


def files(group: str) -> dict[str, Path]:
    """The files of a group by name, headwise's own first.

    Raises:
        InputError: a folder that is not there, or a name that is taken.
    """
    found: dict[str, Path] = {}
    for folder in (CONF, *_own_folders()):
        for file in sorted((folder / group).glob("*.yaml")):
            if file.stem in found:
                raise InputError(f"{file}: {group}={file.stem} is {found[file.stem]} already; use another name")
            found[file.stem] = file
    return found


def presets(group: str) -> dict[str, str]:
    """What a group offers by name, in one line: of a file its first comment, of what plugins register its summary."""
    registered = _REGISTRIES[group].summaries() if group in _REGISTRIES else {}
    found = {name: _comment(file) or registered.get(name, "") for name, file in files(group).items()}
    return found | {name: line for name, line in registered.items() if name not in found}


def defaults() -> dict[str, str]:
    """The file that each group takes where none is chosen."""
    listed = _mapping(CONF / "config.yaml")["defaults"]
    return {group: name for choice in listed if isinstance(choice, dict) for group, name in choice.items()}


def known(group: str, name: str) -> None:
    """Refuse a file that a group does not have.

    Raises:
        InputError: with those it has.
    """
    available = presets(group)
    if name not in available and not is_path(name):
        there = f"available: {', '.join(available)}{suggestion(name, available)}"
        raise InputError(f"{group}={short(name)}: unknown; {there}")


def preset(group: str, name: str) -> dict[str, Any]:
    """What a name of a group stands for: the values in a file, given by name or by path, or of a plugin.

    Raises:
        InputError: no such file, or one that does not hold keys and values.
    """
    known(group, name)
    if is_path(name):
        return _mapping(user_path(name))
    if (file := files(group).get(name)) is not None:
        return _mapping(file)
    return dict(to_plain(ARMS[name])) if group == "arm" else {"name": name}


def is_path(name: str) -> bool:
    """Whether a value such as `./mine.yaml` is a file rather than a name."""
    return name.endswith((".yaml", ".yml"))


def _comment(file: Path) -> str:
    first = read_text(file).partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _own_folders() -> list[Path]:
    named = [user_path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    for folder in named:
        if not folder.is_dir():
            raise InputError(f"{VARIABLE}={folder}: no such folder")
    return named


def _mapping(file: Path) -> dict[str, Any]:
    values = read_yaml(file)
    values = {} if values is None else values
    if sum(1 for _ in itertools.islice(_nodes(values), MOST_VALUES + 1)) > MOST_VALUES:
        raise InputError(f"{file}: more than {MOST_VALUES} values, or nested more than {DEEPEST} deep")
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{file}: holds {short(values)!r}; expected keys and values")
    return values


def _nodes(value: Any, depth: int = 0) -> Iterator[Any]:
    """A value and what is in it, repeated where it is referred to; without end where it is too deep."""
    yield from itertools.repeat(None) if depth > DEEPEST else [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return
    for item in value:
        yield from _nodes(item, depth + 1)
