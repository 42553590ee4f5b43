"""Mazes: find the shortest way from start to goal on a lattice of cells, through open passages only."""

from dataclasses import fields

from headwise.tasks.base import TaskEntry
from headwise.tasks.maze.config import MazeConfig
from headwise.tasks.maze.data import MazeData
from headwise.tasks.maze.model import MazeTask

# Asked of what a TaskEntry may have, so that the task also loads where runs are not analysed.
_ANALYSIS = {"analysis": "headwise.tasks.maze.analysis.analyse"}
_OPTIONAL = {name: path for name, path in _ANALYSIS.items() if name in {field.name for field in fields(TaskEntry)}}

ENTRY = TaskEntry(
    name="maze",
    summary="find the shortest way through a maze with real walls: mark it, or tell the moves; known floor and ceiling",
    config=MazeConfig,
    task=MazeTask,
    data=MazeData,
    **_OPTIONAL,  # type: ignore[arg-type]
)

__all__ = ["ENTRY", "MazeConfig", "MazeData", "MazeTask"]
