"""The files of `conf`: named values for a task, an arm or a recipe, chosen with `task=`, `arm=`, `training=`."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_text, read_yaml
from headwise.schema import short, suggestion

CONF = Path(__file__).parents[1] / "conf"
GROUPS = ("task", "arm", "training")
DEEPEST = 16
"""Mappings and lists within each other; the deepest setting there is lies at four."""
MOST_VALUES = 2_000
"""Values in a file of `conf`, with what it refers to written out."""


def presets(group: str) -> dict[str, str]:
    """The files of a group of `conf`, by name, with the comment on their first line."""
    found = {}
    for file in sorted((CONF / group).glob("*.yaml")):
        first = read_text(file).partition("\n")[0]
        found[file.stem] = first.removeprefix("#").strip() if first.startswith("#") else ""
    return found


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
    if name not in available:
        there = f"available: {', '.join(available)}{suggestion(name, available)}"
        raise InputError(f"{group}={short(name)}: unknown; {there}")


def preset(group: str, name: str) -> dict[str, Any]:
    """The values in a file of a group.

    Raises:
        InputError: no such file, or one that does not hold keys and values.
    """
    known(group, name)
    return _mapping(CONF / group / f"{name}.yaml")


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
