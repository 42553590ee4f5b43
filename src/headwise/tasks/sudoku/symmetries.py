"""What leaves a sudoku a sudoku: other names for the digits, bands and stacks in another order, rows within a band and
columns within a stack, and, where boxes are square, rows for columns.

`apply` draws one of these for each puzzle. `invariants` are numbers that none of them changes, by which splits are kept
apart. Legend: M or B puzzles, N side, C = N * N cells, R pairs of rows.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwise.tasks.sudoku.board import Digits, board

Numbers = NDArray[np.uint64]

ROUNDS = 4
"""Refinements of the colours of cells; at 9x9 a cell knows all others after two."""


def drawn(key: NDArray[np.int64], count: int) -> Numbers:
    """So many random numbers of 64 bits for each key, [B, count], a function of the key alone (SplitMix64)."""
    first: Numbers = key.astype(np.uint64)[:, None] << np.uint64(20)
    return mixed(mixed(np.add(first, np.arange(count, dtype=np.uint64), dtype=np.uint64)))


def mixed(numbers: Numbers) -> Numbers:
    """Each number to another one, all bits of which depend on all of its bits; the finaliser of SplitMix64."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def apply(digits: list[Tensor], box: tuple[int, int], key: Tensor) -> list[Tensor]:
    """Boards under symmetries of their own.

    Args:
        digits: each int64 [B, C] with 0 for blanks; all are moved alike.
        box: rows and columns of a box.
        key: int64 [B], which symmetry; 0 leaves a board as it is.
    """
    N = box[0] * box[1]
    random = drawn(key.numpy(), 5 * N + 1)
    rows = _order(random[:, :N], random[:, N : 2 * N], box[0])  # [B, N], the old row of each new one
    columns = _order(random[:, 2 * N : 3 * N], random[:, 3 * N : 4 * N], box[1])
    cells = rows[:, :, None] * N + columns[:, None, :]  # [B, N, N]
    if box[0] == box[1]:
        turned = (random[:, -1] & np.uint64(1)).astype(bool)
        cells[turned] = cells[turned].swapaxes(1, 2)
    names = np.concatenate([np.zeros((len(random), 1), np.int64), random[:, 4 * N : 5 * N].argsort(1) + 1], 1)
    still = (key == 0).numpy()
    cells[still] = np.arange(N * N).reshape(N, N)
    names[still] = np.arange(N + 1)
    where, called = torch.from_numpy(cells.reshape(-1, N * N)), torch.from_numpy(names)
    return [called.gather(1, one.gather(1, where)) for one in digits]


def _order(of_bands: Numbers, of_lines: Numbers, height: int) -> NDArray[np.int64]:
    """Lines in a random order that keeps bands of so many together, [B, N]."""
    B, N = of_lines.shape
    band = of_bands[:, : N // height].argsort(1)  # [B, bands]
    line = of_lines.reshape(B, -1, height).argsort(2)  # [B, bands, height]
    chosen = np.take_along_axis(line, band[:, :, None], 1) + band[:, :, None] * height
    return np.asarray(chosen.reshape(B, N))


def of_solutions(solutions: Digits, box: tuple[int, int]) -> Numbers:
    """A number for each full board [M, C], the same for all that are symmetric to it, [M].

    Two rows, one above the other, are a permutation of the digits; the lengths of its cycles, over all pairs of rows
    and of columns, and whether a pair lies in one band, are what it is made of.
    """
    N = box[0] * box[1]
    grids = solutions.reshape(-1, N, N).astype(np.int64) - 1
    by_rows, by_columns = _cycles(grids, box[0]), _cycles(grids.swapaxes(1, 2), box[1])
    return mixed(by_rows + by_columns)


def _cycles(grids: NDArray[np.int64], height: int) -> Numbers:
    N = grids.shape[1]
    upper, lower = np.array(list(itertools.combinations(range(N), 2))).T
    place = grids.argsort(2)  # [M, N, N], where each digit stands in its row
    onward = np.take_along_axis(grids[:, lower], place[:, upper], 2)  # [M, R, N], digit above -> digit below
    length = np.zeros_like(onward)
    here = onward
    for step in range(1, N + 1):
        length[(here == np.arange(N)) & (length == 0)] = step
        here = np.take_along_axis(onward, here, 2)
    in_band = (upper // height == lower // height).astype(np.uint64)
    pairs = mixed(length.astype(np.uint64)).sum(2, dtype=np.uint64) + in_band
    return np.asarray(mixed(pairs).sum(1, dtype=np.uint64))


def of_puzzles(clues: Digits, solutions: Digits, box: tuple[int, int]) -> Numbers:
    """A number for each puzzle and its solution [M, C], the same for all that are symmetric to it, [M].

    Cells have colours, at first whether they are clues; a cell's next colour is made of its own and those of its row,
    column, box and of all cells with its digit (colour refinement). All of them, with `of_solutions`, make the number.
    Puzzles of different numbers are not symmetric; those of one number nearly always are.
    """
    unit_of, units = board(box).unit_of, board(box).units
    N, M = box[0] * box[1], len(clues)
    colours = mixed((clues > 0).astype(np.uint64))
    flat = solutions.astype(np.int64) - 1 + N * np.arange(M)[:, None]
    for _ in range(ROUNDS):
        sums = mixed(colours)[:, units].sum(2, dtype=np.uint64)  # [M, 3 N]
        row, column, of_box = (mixed(sums[:, place + N * kind]) for kind, place in enumerate(unit_of))
        digit = np.zeros(M * N, dtype=np.uint64)
        np.add.at(digit, flat.ravel(), mixed(colours).ravel())
        other = mixed(of_box + np.uint64(1)) + mixed(mixed(digit)[flat] + np.uint64(2))
        # Rows and columns alike where one may become the other.
        lines = row + column if box[0] == box[1] else mixed(row) + column
        colours = mixed(mixed(colours) + lines + other)
    return mixed(mixed(colours).sum(1, dtype=np.uint64) + of_solutions(solutions, box))
