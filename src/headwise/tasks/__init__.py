"""The tasks by name. Each is a folder, imported when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from headwise.errors import InputError

if TYPE_CHECKING:
    from headwise.tasks.base import TaskEntry

TASKS = {
    "language": "headwise.tasks.language",
    "maze": "headwise.tasks.maze",
    "parsing": "headwise.tasks.parsing",
    "sorting": "headwise.tasks.sorting",
}
"""Name of a task -> the module that holds its `ENTRY`."""


def entry(name: str) -> TaskEntry:
    """The task called `name`.

    Raises:
        InputError: there is no such task.
    """
    if name not in TASKS:
        raise InputError(f"task={name}: unknown; choose one of {', '.join(TASKS)}")
    found: TaskEntry = importlib.import_module(TASKS[name]).ENTRY
    return found
