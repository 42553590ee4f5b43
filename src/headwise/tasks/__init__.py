"""Tasks: each a folder with an `ENTRY`; here what there is by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwise.errors import InputError
from headwise.registry import Registry

if TYPE_CHECKING:
    from headwise.tasks.base import TaskEntry

TASKS: Registry[TaskEntry] = Registry(
    "task",
    "headwise.tasks",
    {
        "language": "headwise.tasks.language:ENTRY",
        "maze": "headwise.tasks.maze:ENTRY",
        "maze_characters": "headwise.tasks.maze_characters:ENTRY",
        "parsing": "headwise.tasks.parsing:ENTRY",
        "pretrained": "headwise.tasks.pretrained:ENTRY",
        "sorting": "headwise.tasks.sorting:ENTRY",
        "sudoku": "headwise.tasks.sudoku:ENTRY",
        "walk": "headwise.tasks.walk:ENTRY",
    },
)


def entry(name: str) -> TaskEntry:
    """The task called `name`.

    Raises:
        InputError: there is no such task.
    """
    if name not in TASKS:
        raise InputError(f"task={name}: unknown; choose one of {', '.join(TASKS)}")
    return TASKS[name]
