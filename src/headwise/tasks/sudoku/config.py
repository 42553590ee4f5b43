"""The settings of the task `sudoku`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headwise.schema import FilePath
from headwise.tasks.losses import LossKind
from headwise.tasks.sudoku.generate import GeneratorConfig

_GENERATED = GeneratorConfig()


@dataclass(frozen=True)
class SudokuConfig:
    """Which puzzles, what of them the model knows, and what it is asked.

    Args:
        size: N, cells on a side: 4, 6, 9 (default) or 16.
        box: rows and columns of a box, as [2,3]; default null: 2x2, 2x3, 3x3 and 4x4.
        clues: of generated puzzles: `minimal` (default), or how many.
        grade: `any` (default); `singles`: solved by naked and hidden singles alone; [least,most]: guesses that the
            solver needs, or of puzzles from files, with grade_by=rating, their rating. Of a file the others are left
            out.
        grade_by: what tables and `grade` go by: `guesses` (default) of the solver, or `rating`, which a file has to
            have.
        train_puzzles, validation_puzzles, test_puzzles: how many; default 1000 each. Published: 1000 for training.
        file: puzzles from a file in place of generated ones: .npz or .csv or .txt as `headwise data sudoku` writes
            them, a table like Sudoku-Extreme, or plain lines. Its first `test_puzzles` are the test set, if there is no
            `test_file`, the next `validation_puzzles` the validation set, and of those behind them the first
            `train_puzzles` are trained on that are symmetric to none that is held out.
        test_file: the first `test_puzzles` of this file are the test set, whatever the rest comes from.
        symmetries: in training each puzzle is shown under a random symmetry (names of digits, order of bands, stacks,
            rows and columns, transposition where boxes are square), anew in each epoch; default true.
        positions: what a token knows of where its cell lies: `absolute` (default; learned embeddings of row, column and
            box) or `none`, for shapes with structural heads or rotary positions: then nothing but these tells one cell
            from another.
        asked: `blanks` (default), or `all` cells, as published; of blanks alone the clues are filled into the answer.
        loss: `softmax` (default), or `stablemax` (arXiv 2501.04697), as Tiny Recursive Models have it.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    size: int = _GENERATED.size
    box: tuple[int, ...] | None = _GENERATED.box
    clues: int | Literal["minimal"] = _GENERATED.clues
    grade: tuple[int, ...] | Literal["any", "singles"] = _GENERATED.grade
    grade_by: Literal["guesses", "rating"] = "guesses"
    train_puzzles: int = 1000
    validation_puzzles: int = 1000
    test_puzzles: int = 1000
    file: FilePath | None = None
    test_file: FilePath | None = None
    symmetries: bool = True
    positions: Literal["absolute", "none"] = "absolute"
    asked: Literal["blanks", "all"] = "blanks"
    loss: LossKind = "softmax"

    def __post_init__(self) -> None:
        try:
            _ = self.generator  # which refuses what it cannot generate
        except ValueError as error:
            raise ValueError(f"task.{error}") from None
        for key in ("train_puzzles", "validation_puzzles", "test_puzzles"):
            if getattr(self, key) < 1:
                raise ValueError(f"task.{key}={getattr(self, key)}: choose 1 or more")
        if self.file is not None and self.clues != "minimal":
            raise ValueError(
                f"task.clues={self.clues}: is about generated puzzles, these come from task.file; choose "
                "task.clues=minimal, or, if the file is for testing alone, task.test_file in place of task.file"
            )
        if self.grade_by == "rating" and self.file is None:
            raise ValueError("task.grade_by=rating: generated puzzles have none; choose guesses, or name a task.file")
        if self.grade_by == "rating" and self.grade == "singles":
            raise ValueError("task.grade=singles with task.grade_by=rating: says nothing of ratings; choose [0,0]")

    @property
    def generator(self) -> GeneratorConfig:
        """Which puzzles are generated."""
        return GeneratorConfig(self.size, self.box, self.clues, self.grade)

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of a box."""
        return self.generator.sides
