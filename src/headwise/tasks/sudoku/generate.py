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

from dataclasses import dataclass
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
        if isinstance(self.clues, int) and not 1 <= self.clues < cells:
            raise ValueError(f"clues={self.clues}: choose 1..{cells - 1} of the {cells} cells of size={self.size}")
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
    """Puzzles drawn, how many of them were as asked for and of the split, and the fewest clues that were left."""

    drawn: int = 0
    right: int = 0
    fewest: int = 1000

    def give_up_if_hopeless(self, config: GeneratorConfig) -> None:
        if self.drawn < _JUDGED or self.right >= _LEAST * self.drawn:
            return
        grade = config.grade if isinstance(config.grade, str) else f"[{config.grade[0]},{config.grade[1]}]"
        fewest = f"; the fewest clues were {self.fewest}" if config.clues != "minimal" else ""
        raise InputError(
            f"size={config.size} clues={config.clues} grade={grade}: {self.right} of {self.drawn} puzzles drawn were "
            f"so and of the split{fewest}; choose more clues, or another grade"
        )


def _block(config: GeneratorConfig, seed: int, split: str, index: Ints, tally: _Tally) -> tuple[Ints, Ints, Ints]:
    """Clues and solutions [M, C] and guesses [M] of the puzzles of these numbers."""
    M, C, sides, place = len(index), config.size**2, config.sides, SPLITS.index(split)
    clues, solution, guesses = np.zeros((M, C), np.int64), np.zeros((M, C), np.int64), np.zeros(M, np.int64)
    pending, attempt = np.arange(M), 0
    while len(pending):
        orders = np.zeros((M, C), np.int64)
        drawn = np.zeros(M, bool)
        for one in pending:
            stream = [seed, *sides, place, int(index[one]), attempt]
            drawn[one], orders[one] = _full_board(config, stream, solution[one])
        if config.size >= 9:
            drawn[drawn] = splits_of(of_solutions(solution[drawn].astype(np.int8), sides)) == place
        right = drawn.copy()
        for one in np.flatnonzero(drawn):
            clues[one] = solution[one]
            right[one], guesses[one] = _dug(config, clues[one], orders[one], tally)
        if config.size < 9 and right.any():
            numbers = of_puzzles(clues[right].astype(np.int8), solution[right].astype(np.int8), sides)
            right[right] = splits_of(numbers) == place
        tally.drawn += int(drawn.sum())
        tally.right += int(right.sum())
        tally.give_up_if_hopeless(config)
        pending, attempt = pending[~right[pending]], attempt + 1
    return clues, solution, guesses


def _full_board(config: GeneratorConfig, stream: list[int], solution: Ints) -> tuple[bool, Ints]:
    """Writes a full board [C]. Whether one was found, and an order of its cells [C]."""
    from headwise.tasks.sudoku import search  # which may load numba

    rng, geometry = np.random.default_rng(stream), board(config.sides)
    rank = rng.random((len(solution), config.size)).argsort(1)
    order = rng.permutation(len(solution))
    return search.fill(geometry.units, geometry.peers, rank, solution, FULL_BOARD), order


def _dug(config: GeneratorConfig, clues: Ints, order: Ints, tally: _Tally) -> tuple[bool, int]:
    """Takes clues away from a full board [C]. Whether the puzzle is as asked for, and its guesses."""
    from headwise.tasks.sudoku import search  # as above

    geometry, easy = board(config.sides), config.grade == "singles"
    units, peers = geometry.units, geometry.peers
    ascending = np.tile(np.arange(config.size), (len(clues), 1))
    wanted = 0 if config.clues == "minimal" else config.clues
    left = search.dig(clues, units, peers, ascending, order, easy, wanted, QUESTION)
    if left > 0:
        tally.fewest = min(tally.fewest, left)
    if left < 0 or (wanted and left != wanted):
        return False, 0
    if easy:
        return True, 0
    found, guesses = search.grade(clues, units, peers, np.zeros_like(clues), GRADED)
    least, most = config.guesses
    return found == 1 and least <= guesses <= most, guesses
