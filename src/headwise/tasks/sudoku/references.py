"""What predictors reach that need no training, on given puzzles.

- `majority`: in every blank the digit that the clues have least often, so that the solution has it most often there.
- `guess`: any digit in every blank, constraints unseen.
- `candidates`: in every blank one of the digits that stand in none of its units, each as likely. The `floor`.
- `singles`: naked and hidden singles placed until there are none, then a guess among the candidates left.
- `ceiling`: 1, as every puzzle has one solution.

Guesses are not drawn: values are what is expected of them. Legend: M puzzles, N side, C = N * N cells.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwise.tasks.sudoku.board import Puzzles, board


def by_metric(puzzles: Puzzles) -> dict[str, dict[str, Tensor]]:
    """Every reference in `exact` and `blanks`, {metric: {reference: float [M]}}."""
    N, blank = puzzles.size, puzzles.clues == 0
    given = np.stack([(puzzles.clues == digit).sum(1) for digit in range(1, N + 1)], 1)  # [M, N]
    rarest = given.argmin(1)[:, None] + 1
    first, last = chances(puzzles)
    right = {
        "majority": (puzzles.solution == rarest).astype(float),
        "guess": np.full(blank.shape, 1 / N),
        "candidates": first,
        "floor": first,
        "singles": last,
        "ceiling": np.ones(blank.shape),
    }
    return {
        "exact": {name: _tensor(np.where(blank, chance, 1).prod(1)) for name, chance in right.items()},
        "blanks": {name: _tensor(_mean(chance, blank)) for name, chance in right.items()},
    }


def chances(puzzles: Puzzles) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How likely a guess among the candidates is right, in each blank [M, C], before and after all singles are placed;
    1 in cells that are filled."""
    from headwise.tasks.sudoku import search  # which may load numba

    geometry = board(puzzles.box)
    digits, candidates = (np.zeros(puzzles.clues.shape[1], np.int32) for _ in range(2))
    first, last = np.zeros((2, *puzzles.clues.shape))
    bits = np.arange(puzzles.size)
    for row, clues in enumerate(puzzles.clues.astype(np.int64)):
        search.start(clues, geometry.units, geometry.peers, digits, candidates)
        first[row] = 1 / (candidates[:, None] >> bits & 1).sum(1)
        search.singles(digits, candidates, geometry.units, geometry.peers)
        last[row] = 1 / (candidates[:, None] >> bits & 1).sum(1)
    return first, last


def _mean(values: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(np.where(among, values, 0).sum(1) / among.sum(1))


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values).float()
