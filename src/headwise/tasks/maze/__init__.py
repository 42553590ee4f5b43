"""Mazes: find the shortest way from start to goal on a lattice of cells, through open passages only."""

from headwise.tasks.base import TaskEntry
from headwise.tasks.maze.config import MazeConfig
from headwise.tasks.maze.data import MazeData
from headwise.tasks.maze.model import MazeTask

ENTRY = TaskEntry(
    name="maze",
    summary="find the shortest way through a maze with real walls: mark it, or tell the moves; known floor and ceiling",
    config=MazeConfig,
    task=MazeTask,
    data=MazeData,
    commands={"data mazes": "headwise.tasks.maze.command"},
    analysis="headwise.tasks.maze.analysis.analyse",
)

__all__ = ["ENTRY", "MazeConfig", "MazeData", "MazeTask"]
