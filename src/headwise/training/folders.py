"""Where named values lie that `task=`, `arm=`, `training=` choose: files of headwise, of folders of the user's own, and
what plugins register.
"""

import os
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_text, read_yaml, user_path
from headwise.models import ARMS
from headwise.registry import Registry
from headwise.schema import to_plain
from headwise.tasks import TASKS

CONF = Path(__file__).parents[1] / "conf"
VARIABLE = "HEADWISE_CONF"
"""Names folders like `headwise/conf` in the environment, separated as in PATH."""

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


def summaries(group: str) -> dict[str, str]:
    """Everything that a group offers by name, with the comment on a file's first line or a plugin's summary."""
    registered = _REGISTRIES[group].summaries() if group in _REGISTRIES else {}
    found = {name: _comment(file) or registered.get(name, "") for name, file in files(group).items()}
    return found | {name: line for name, line in registered.items() if name not in found}


def _comment(file: Path) -> str:
    first = read_text(file).partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def values(group: str, name: str) -> Any:
    """What a name of a group stands for: the plain content of a file, given by name or by path, or of a plugin.

    Raises:
        InputError: a file that cannot be read.
    """
    if is_path(name):
        return read_yaml(user_path(name))
    if (file := files(group).get(name)) is not None:
        return read_yaml(file)
    return to_plain(ARMS[name]) if group == "arm" else {"name": name}


def is_path(name: str) -> bool:
    """Whether a value such as `./mine.yaml` is a file rather than a name."""
    return name.endswith((".yaml", ".yml"))


def _own_folders() -> list[Path]:
    named = [user_path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    for folder in named:
        if not folder.is_dir():
            raise InputError(f"{VARIABLE}={folder}: no such folder")
    return named
