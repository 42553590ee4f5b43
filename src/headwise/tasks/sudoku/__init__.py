"""Sudoku: fill in the blanks, so that every row, column and box holds every digit once."""

from headwise.tasks.base import TaskEntry
from headwise.tasks.sudoku.config import SudokuConfig
from headwise.tasks.sudoku.data import SudokuData
from headwise.tasks.sudoku.model import SudokuTask

ENTRY = TaskEntry(
    name="sudoku",
    summary="solve sudokus of 4 to 16 cells on a side, where a structural head is a constraint; ceiling 1",
    config=SudokuConfig,
    task=SudokuTask,
    data=SudokuData,
    commands={"data sudoku": "headwise.tasks.sudoku.command", "solve": "headwise.tasks.sudoku.solve"},
    analysis="headwise.tasks.sudoku.analysis.analyse",
    example={"size": 4, "train_puzzles": 24, "validation_puzzles": 8, "test_puzzles": 8},
)

__all__ = ["ENTRY", "SudokuConfig", "SudokuData", "SudokuTask"]
