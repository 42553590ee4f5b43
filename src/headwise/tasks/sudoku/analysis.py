"""What a trained model does with sudokus: shares by grade and by clues, the heads it uses, pictures.

Legend: M puzzles, C cells.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwise.tasks.base import Source, TaskData, TaskModel
from headwise.tasks.examined import ROUTED, Batches, at_mean_gates, batches_of, chosen, is_routed
from headwise.tasks.proportions import proportion
from headwise.tasks.sudoku import gates, references, render
from headwise.tasks.sudoku.board import Puzzles
from headwise.tasks.sudoku.data import SudokuSource
from headwise.tasks.sudoku.metrics import measure
from headwise.tasks.sudoku.model import SudokuTask

ROWS = 6
"""Rows of a table by numbers that many puzzles share."""

SCORES_CAPTION = (
    "Shares of the puzzles that are solved, with 95 % Wilson intervals, and of their blanks that are right. Valid: no "
    "row, column or box repeats a digit and no clue is changed. Below the model predictors without training."
)
GUESSES_CAPTION = "Puzzles by the guesses that the solver needs; 0: naked and hidden singles solve them."
RATING_CAPTION = "Puzzles by the rating that their file gives them; about equally many in each row."
CLUES_CAPTION = "Puzzles by the number of clues."
GRADE_BOUNDS = (0, 1, 2, 4, 9, 29, 99, 999)
"""The most guesses of each row but the last."""


@torch.no_grad()
def analyse(model: TaskModel, data: TaskData, source: Source, batch_size: int = 250) -> dict[str, Any]:
    """Metrics, tables and figures, as `TaskEntry.analysis` says.

    Args:
        model: of the task `sudoku`, in evaluation mode.
        data: that the source belongs to.
        source: a split.
        batch_size: puzzles at once.
    """
    assert isinstance(source, SudokuSource)
    task, puzzles = model.task, source.puzzles
    assert isinstance(task, SudokuTask)
    batches = partial(batches_of, model, source, batch_size)
    answers = [task.answer(task.read_out(model(batch).states[-1], batch), batch).cpu() for batch in batches()]
    answer = torch.cat(answers)
    found = measure(answer, source.batch(torch.arange(len(source))), puzzles.box)
    metrics, routing = _routing(model, batches)
    tables = [_scores(found, puzzles), _by_guesses(found, puzzles.guesses)]
    if not np.isnan(puzzles.rating).any():
        tables.append(_by_number(found, puzzles.rating, "By rating", RATING_CAPTION, "rating"))
    tables += [_by_number(found, puzzles.n_clues, "By number of clues", CLUES_CAPTION, "clues"), *routing]
    figures = [
        {
            "title": f"Puzzle {place}",
            "caption": _caption(puzzles, place, bool(found["exact"][place])),
            "svg": render.svg(puzzles, place, answer[place].numpy()),
        }
        for place in chosen(found["exact"])
    ]
    return {"metrics": metrics, "tables": tables, "figures": figures}


def _scores(found: dict[str, Tensor], puzzles: Puzzles) -> dict[str, Any]:
    others = references.by_metric(puzzles)
    rows: list[list[Any]] = [["model", *_share(found["exact"]), *(_mean(found[name]) for name in ("valid", "blanks"))]]
    for name in ("guess", "majority", "candidates", "singles"):
        rows.append([name, _mean(others["exact"][name]), "-", "-", "-", _mean(others["blanks"][name])])
    return _table("Puzzles solved", SCORES_CAPTION, ["", "exact", "from", "to", "valid", "blanks"], rows)


def _by_guesses(found: dict[str, Tensor], guesses: NDArray[np.int64]) -> dict[str, Any]:
    rows, least = [], 0
    for most in (*GRADE_BOUNDS, int(guesses.max())):
        among = (guesses >= least) & (guesses <= most)
        if among.any():
            rows.append(_row(_interval(least, most), found, among))
        least = max(least, most + 1)
    return _table("By guesses", GUESSES_CAPTION, _columns("guesses"), rows)


def _by_number(found: dict[str, Tensor], numbers: NDArray[Any], title: str, caption: str, name: str) -> dict[str, Any]:
    """A table with about equally many puzzles in each row; those of one number stay together."""
    bounds = np.unique(np.quantile(numbers, np.linspace(0, 1, ROWS + 1)[1:], method="higher"))
    row = np.searchsorted(bounds, numbers)
    rows = []
    for place in range(len(bounds)):
        among = row == place
        rows.append(_row(_interval(numbers[among].min(), numbers[among].max()), found, among))
    return _table(title, caption, _columns(name), rows)


def _columns(name: str) -> list[str]:
    return [name, "puzzles", "exact", "from", "to", "blanks"]


def _row(name: str, found: dict[str, Tensor], among: NDArray[np.bool_]) -> list[Any]:
    which = torch.from_numpy(among)
    return [name, int(among.sum()), *_share(found["exact"][which]), _mean(found["blanks"][which])]


def _interval(least: float, most: float) -> str:
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def _share(exact: Tensor) -> list[float]:
    value = proportion(exact)
    return [value.share, value.low, value.high]


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def _routing(model: TaskModel, batches: Batches) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """What the router does, and whether it matters: the puzzles once more with every head's gate at its mean."""
    if not is_routed(model):
        return {}, []
    task = model.task
    assert isinstance(task, SudokuTask)
    used = gates.usage(model, batches(ROUTED), task.config.sides)
    of_group = gates.groups(model)
    tables = gates.tables(used, of_group) if len(of_group) > 1 else []
    return at_mean_gates(model, batches(), used.sums, ["exact", "blanks"]), tables


def _caption(puzzles: Puzzles, place: int, solved: bool) -> str:
    guesses = int(puzzles.guesses[place])
    hard = "singles solve it" if not guesses else f"{guesses} guess{'es' * (guesses > 1)}"
    return f"{'Solved' if solved else 'Not solved'}; {int(puzzles.n_clues[place])} clues, {hard}."


def _table(title: str, caption: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "columns": columns, "rows": rows}
