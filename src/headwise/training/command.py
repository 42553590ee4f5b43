"""A configuration as the command that trains it."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from headwise.models import ARMS
from headwise.training import configuration
from headwise.training.config import RunConfig
from headwise.training.presets import files

PLACES = ("name", "output", "cache", "device", "plugins", "quick")
"""Keys that are no part of what is trained, or are said by others."""
_READ = ("true", "false", "null", "nan", "inf")
"""Words that are read as something else than words."""
_BARE = re.compile(r"[A-Za-z0-9_./+-]*[A-Za-z_./+-][A-Za-z0-9_./+-]*")


def words_of(config: RunConfig) -> list[str]:
    """What is typed behind `headwise train` for this run: its task and arm, and what is not theirs by default.

    Where, on what device and with which plugins it is trained is left out.
    """
    first = [f"task={config.entry.name}"]
    if config.name in files("arm") or config.name in ARMS:
        first.append(f"arm={config.name}")
    default = configuration.load([*first, "quick=false"]).to_plain()
    leaves = dict(_leaves({key: value for key, value in config.to_plain().items() if key not in PLACES}))
    # Another name takes the settings of the old one away, so that all of its own have to be said
    renamed = tuple(
        key.removesuffix("name") for key in leaves if key.endswith(".name") and _at(default, key) != (True, leaves[key])
    )
    changed = {k: v for k, v in leaves.items() if k.startswith(renamed) or _at(default, k) != (True, v)}
    paths = configuration.paths_of(first)
    return first + [f"{key}={value if key in paths and value else _typed(value)}" for key, value in changed.items()]


def command_of(config: RunConfig) -> str:
    """The whole command, as it is typed into a shell."""
    return shlex.join(["headwise", "train", *words_of(config)])


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _at(node: Any, key: str) -> tuple[bool, Any]:
    """Whether there is something at a dotted key, and what."""
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False, None
        node = node[part]
    return True, node


def _typed(value: Any) -> str:
    """A plain value in the grammar of the command line."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_typed(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_typed(item)}' for key, item in value.items())}}}"
    if isinstance(value, str) and (not _BARE.fullmatch(value) or value.lower() in _READ):
        return json.dumps(value, ensure_ascii=False)
    return value if isinstance(value, str) else json.dumps(value)
