"""Mazes in characters: the grid of wall, open, start and goal that HRM and TRM read, answered with the path marked."""

from headwise.tasks.base import TaskEntry
from headwise.tasks.maze_characters.config import MazeCharactersConfig
from headwise.tasks.maze_characters.data import MazeCharactersData
from headwise.tasks.maze_characters.model import MazeCharactersTask

ENTRY = TaskEntry(
    name="maze_characters",
    summary="mark the path in a maze drawn in characters, as HRM and TRM read Maze-Hard; exact match, ceiling 1",
    config=MazeCharactersConfig,
    task=MazeCharactersTask,
    data=MazeCharactersData,
    analysis="headwise.tasks.maze_characters.analysis.analyse",
    example={"size": 7, "train_mazes": 40, "validation_mazes": 8, "test_mazes": 8},
)

__all__ = ["ENTRY", "MazeCharactersConfig", "MazeCharactersData", "MazeCharactersTask"]
