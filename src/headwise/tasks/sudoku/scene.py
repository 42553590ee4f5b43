"""A sudoku as it is drawn, and one that is typed. Legend: N side, L = N * N cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.scenes import Example, Scene, cells_of, counted, percent, places
from headwise.tasks.sudoku.board import ALPHABET, board
from headwise.tasks.sudoku.imports import Line, clues_of
from headwise.tasks.sudoku.metrics import agrees

if TYPE_CHECKING:
    from headwise.tasks.sudoku.model import SudokuTask


def scene(task: SudokuTask, example: Example, predictions: Sequence[Any]) -> Scene:
    """The board with the digits of each answer; wrong are those that are not the solution's, or where it is not known
    those that repeat another one's."""
    clues, side = example.batch["clues"][0], task.config.size
    return Scene(
        "grid",
        {
            "rows": side,
            "columns": side,
            "boxes": list(task.config.sides),
            "given": ["" if digit == 0 else ALPHABET[digit - 1] for digit in clues.tolist()],
        },
        [_answer(task, prediction, example.batch) for prediction in predictions],
        cells_of(side, side),
        places(clues == 0),
    )


def typed(task: SudokuTask, text: str) -> Example:
    """The puzzle of a line of digits and blanks.

    Raises:
        InputError: another length or character, or clues that clash.
    """
    clues = clues_of(Line("the sudoku", "".join(text.split())), task.config.sides)
    return Example({"clues": torch.from_numpy(clues).long()[None]}, solved=False)


def _answer(task: SudokuTask, scores: Tensor, batch: Batch) -> dict[str, Any]:
    answer, clues = task.answer(scores, batch)[0], batch["clues"][0]
    sure = scores[0].float().softmax(-1).gather(1, answer[:, None] - 1)[:, 0]  # [L]
    blank = clues == 0
    if "solution" in batch:
        wrong = answer != batch["solution"][0]
        said = f"{int((blank & ~wrong).sum())} of {counted(int(blank.sum()), 'blank')} right"
    else:
        wrong = _repeated(answer, task.config.sides) | (~blank & (answer != clues))
        solved = bool(agrees(answer[None], batch, task.config.sides)[0])
        said = "solved: no rule is broken" if solved else f"{counted(int(wrong.sum()), 'cell')} against the rules"
    return {
        "text": [ALPHABET[digit - 1] for digit in answer.tolist()],
        "sure": percent(sure),
        "right": places(blank & ~wrong),
        "wrong": places(wrong),
        "said": said,
        "confidence": float(sure[blank].mean()) if blank.any() else 1.0,
    }


def _repeated(answer: Tensor, box: tuple[int, int]) -> Tensor:
    """Cells whose digit stands in another cell of a unit, bool [L]."""
    return (answer[torch.from_numpy(board(box).peers)] == answer[:, None]).any(1)
