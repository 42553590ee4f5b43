"""What the page must know of a model beside its file: which puzzles it solves, and in what sizes it takes them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from headwise.errors import InputError
from headwise.tasks.base import TaskData
from headwise.tasks.maze.config import MazeConfig
from headwise.tasks.maze.read_outs import Grid
from headwise.tasks.sudoku.config import SudokuConfig
from headwise.training.config import RunConfig

EXAMPLES = 20
"""Sudokus that the page offers, of the test set."""


def of_maze(config: RunConfig, data: TaskData, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Cells on a side trained on, the sizes that the file takes, and how long ways are at least."""
    task = config.task
    assert isinstance(task, MazeConfig)
    if not isinstance(task.read_out, Grid):
        raise InputError("maze: the page shows marked cells, this run tells moves; give a run with task.read_out=grid")
    opens = isinstance(sizes["open"][1], str)
    return {
        "size": task.size,
        "sizes": [min(4, task.size), 2 * task.size] if opens else [task.size],
        "shortest": task.min_path_length,
        "about": f"Trained on {task.size} x {task.size} mazes, {_family(task.family)}.",
    }


def of_sudoku(config: RunConfig, data: TaskData, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Side and box of the board, and puzzles to begin with."""
    task = config.task
    assert isinstance(task, SudokuConfig)
    source = data.split("test")
    clues = source.batch(torch.arange(min(EXAMPLES, len(source))))["clues"]
    return {
        "size": task.size,
        "box": list(task.sides),
        "examples": clues.tolist(),
        "about": f"Trained on {task.size} x {task.size} sudokus; new puzzles are of its test set.",
    }


def _family(name: str) -> str:
    return {"depth_first": "made by depth-first search"}.get(name, name.replace("_", " "))


PUZZLES: dict[str, Callable[[RunConfig, TaskData, Mapping[str, Any]], dict[str, Any]]] = {
    "maze": of_maze,
    "sudoku": of_sudoku,
}
"""Task -> what its board on the page is told."""
