"""Puzzles by seed: full boards from which clues are taken away as long as one solution is left.

Puzzle i of a split depends on its configuration, the seed and i alone, so a smaller set is the beginning of a larger
one. Its stream is (seed, sides of the box, split, i, attempt): a full board is searched for from random orders of the
digits in each cell, then clues are taken away in a random order (`search.dig`). Where the board belongs to another
split, or the puzzle is not what was asked for, the next attempt follows.

Splits. A number that no symmetry changes (`symmetries`) says which split a full board belongs to; half of the numbers
are of training, a quarter each of validation and test. So no puzzle, and not even a solution, of one split is that of
another under any symmetry, whatever the seeds and sizes. Of 4 x 4 and 6 x 6 cells there are 2 and 49 full boards up to
symmetries; there the number is that of the puzzle, and solutions are shared. Within a split a puzzle may come twice,
which happens at 4 x 4 (85,632 minimal puzzles in all).
Legend: M puzzles, C cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headwise.errors import InputError
from headwise.tasks.base import SPLITS
from headwise.tasks.sudoku.board import Ints, Puzzles, board, box_of
from headwise.tasks.sudoku.symmetries import Numbers, mixed, of_puzzles, of_solutions

BLOCK = 256  # puzzles made together
FULL_BOARD = 1000  # guesses for a full board
QUESTION = 20_000  # guesses for whether a clue is needed: only 16 x 16 needs so many
GRADED = 1_000_000  # guesses for the grade
_JUDGED = 2000  # puzzles drawn after which it may be said that it is hopeless
_LEAST = 0.002  # share of them that is as asked for below which it is
_SALT = np.uint64(3)  # of the number that decides the split; it gives each split of 4 x 4 puzzles of 4 and of 5 clues


@dataclass(frozen=True)
class GeneratorConfig:
    """Which puzzles.

    Args:
        size: N, cells on a side: 4, 6, 9 or 16.
        box: rows and columns of a box, as [2,3]; null: 2x2, 2x3, 3x3 and 4x4.
        clues: `minimal` (default): none can be taken away; or how many are given, of which more may be taken away.
        grade: `any` (default); `singles`: solved by naked and hidden singles alone, and with clues=minimal none can be
            taken away without losing that; [least,most]: guesses that `search.grade` needs, 0 where singles do.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    size: int = 9
    box: tuple[int, ...] | None = None
    clues: int | Literal["minimal"] = "minimal"
    grade: tuple[int, ...] | Literal["any", "singles"] = "any"

    def __post_init__(self) -> None:
        cells = self.size * self.size
        _ = self.sides
        if isinstance(self.clues, int) and not 1 <= self.clues <= cells:
            raise ValueError(f"clues={self.clues}: choose 1..{cells} of size={self.size} times {self.size} cells")
        if isinstance(self.grade, tuple) and not (len(self.grade) == 2 and 0 <= self.grade[0] <= self.grade[1]):
            words = ",".join(map(str, self.grade))
            raise ValueError(f"grade=[{words}]: choose the least and the most guesses, as [1,10], or any, or singles")

    @property
    def sides(self) -> tuple[int, int]:
        """Rows and columns of a box."""
        return box_of(self.size, self.box)

    @property
    def guesses(self) -> tuple[int, float]:
        """The fewest and the most guesses that a puzzle may need."""
        if isinstance(self.grade, tuple):
            return self.grade[0], self.grade[1]
        return (0, 0) if self.grade == "singles" else (0, np.inf)


def generate(config: GeneratorConfig, number: int, seed: int, split: str = "train", first: int = 0) -> Puzzles:
    """Puzzles `first` to `first + number - 1` of a split.

    Args:
        config: which puzzles.
        number: how many, 1 or more.
        seed: 0 or more.
        split: `train`, `validation` or `test`.

    Raises:
        InputError: a value out of range; or puzzles as asked for practically never occur, with the measured rate.
    """
    if number < 1:
        raise InputError(f"number={number}: choose 1 or more")
    if seed < 0:
        raise InputError(f"seed={seed}: choose 0 or more")
    if split not in SPLITS:
        raise InputError(f"split={split}: choose one of {', '.join(SPLITS)}")
    tally = _Tally()
    parts = [
        _block(config, seed, split, np.arange(begin, min(begin + BLOCK, first + number)), tally)
        for begin in range(first, first + number, BLOCK)
    ]
    clues, solution, guesses = (np.concatenate(column) for column in zip(*parts, strict=True))
    unknown = np.full(number, np.nan)
    return Puzzles(config.sides, clues.astype(np.int8), solution.astype(np.int8), guesses, unknown)


def splits_of(numbers: Numbers) -> NDArray[np.int64]:
    """The split that puzzles with these numbers belong to, by its place in `SPLITS`."""
    return np.array([0, 0, 1, 2])[(mixed(numbers ^ _SALT) % np.uint64(4)).astype(np.int64)]


@dataclass
class _Tally:
    """Puzzles drawn, those of them that were as asked for, and the clues that were left in the others."""

    drawn: int = 0
    right: int = 0
    clues: list[int] = field(default_factory=list)

    def give_up_if_hopeless(self, config: GeneratorConfig) -> None:
        if self.drawn < _JUDGED or self.right >= _LEAST * self.drawn:
            return
        grade = config.grade if isinstance(config.grade, str) else f"[{config.grade[0]},{config.grade[1]}]"
        fewest = f"; the fewest clues were {min(self.clues)}" if self.clues and config.clues != "minimal" else ""
        raise InputError(
            f"size={config.size} clues={config.clues} grade={grade}: {self.right} of {self.drawn} puzzles drawn were "
            f"so{fewest}; choose more clues, or another grade"
        )


def _block(config: GeneratorConfig, seed: int, split: str, index: Ints, tally: _Tally) -> tuple[Ints, Ints, Ints]:
    """Clues and solutions [M, C] and guesses [M] of the puzzles of these numbers."""
    from headwise.tasks.sudoku import search  # which may load numba

    geometry = board(config.sides)
    units, peers = geometry.units, geometry.peers
    C, sides, place = config.size**2, config.sides, SPLITS.index(split)
    clues, solution = np.zeros((len(index), C), np.int64), np.zeros((len(index), C), np.int64)
    guesses = np.zeros(len(index), np.int64)
    by_solution = config.size >= 9
    target = 0 if config.clues == "minimal" else config.clues
    least, most = config.guesses
    ascending = np.tile(np.arange(config.size), (C, 1))
    pending, attempt = np.arange(len(index)), 0
    while len(pending):
        orders, filled = np.zeros((len(pending), C), np.int64), np.zeros(len(pending), bool)
        for at, one in enumerate(pending):
            rng = np.random.default_rng([seed, *sides, place, int(index[one]), attempt])
            rank = rng.random((C, config.size)).argsort(1)
            orders[at] = rng.permutation(C)
            filled[at] = search.fill(units, peers, rank, solution[one], FULL_BOARD)
        if by_solution:
            filled[filled] = splits_of(of_solutions(solution[pending[filled]].astype(np.int8), sides)) == place
        right = filled.copy()
        for at in np.flatnonzero(filled):
            one = pending[at]
            clues[one] = solution[one]
            left = search.dig(
                clues[one], units, peers, ascending, orders[at], config.grade == "singles", target, QUESTION
            )
            right[at] = left > 0 and target in (0, left)
            if right[at] and config.grade != "singles":
                found, guesses[one] = search.grade(clues[one], units, peers, np.zeros(C, np.int64), GRADED)
                right[at] = found == 1 and least <= guesses[one] <= most
            elif left > target > 0:
                tally.clues.append(left)
        tally.drawn += int(filled.sum())
        if not by_solution and right.any():
            among = pending[right]
            numbers = of_puzzles(clues[among].astype(np.int8), solution[among].astype(np.int8), sides)
            tally.right += int(right.sum())
            right[right] = splits_of(numbers) == place
        else:
            tally.right += int(right.sum())
        tally.give_up_if_hopeless(config)
        pending, attempt = pending[~right], attempt + 1
    return clues, solution, guesses
