"""The board: its sizes and boxes, the units of which each holds every digit once, and puzzles as arrays.

Legend: M puzzles, N side, C = N * N cells in the order of rows, P peers of a cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from headwise.errors import InputError

Digits = NDArray[np.int8]
Ints = NDArray[np.int64]

SIZES = (4, 6, 9, 16)
BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3), 16: (4, 4)}
"""Rows and columns of a box, unless others are asked for."""
ALPHABET = "123456789ABCDEFG"
"""Digits as files have them; a blank is `.` or `0`."""


def box_of(size: int, box: Sequence[int] | None) -> tuple[int, int]:
    """Rows and columns of a box.

    Raises:
        ValueError: a size that there is not, or a box that does not divide it.
    """
    if size not in SIZES:
        raise ValueError(f"size={size}: choose one of {', '.join(map(str, SIZES))}")
    if box is None:
        return BOXES[size]
    possible = [(rows, size // rows) for rows in range(2, size) if size % rows == 0]
    if tuple(box) not in possible:
        words = " or ".join(f"[{rows},{columns}]" for rows, columns in possible)
        raise ValueError(f"box=[{','.join(map(str, box))}]: does not divide size={size} into boxes; choose {words}")
    return int(box[0]), int(box[1])


@dataclass(frozen=True)
class Board:
    """What belongs together on a board.

    Attributes:
        box: rows and columns of a box; their product is N.
        units: int64 [3 * N, N], cells of the rows, then of the columns, then of the boxes.
        peers: int64 [C, P], the other cells of the three units of each.
        unit_of: int64 [3, C], row, column and box of each cell, each counted from 0.
    """

    box: tuple[int, int]
    units: Ints
    peers: Ints
    unit_of: Ints

    @property
    def size(self) -> int:
        """N."""
        return self.box[0] * self.box[1]

    @property
    def square(self) -> bool:
        """Whether boxes are, so that a board may be transposed."""
        return self.box[0] == self.box[1]


@cache
def board(box: tuple[int, int]) -> Board:
    """The board of boxes of so many rows and columns."""
    size = box[0] * box[1]
    row, column = np.divmod(np.arange(size * size), size)
    unit_of = np.stack([row, column, row // box[0] * box[0] + column // box[1]])
    units = np.concatenate([np.argsort(of, kind="stable").reshape(size, size) for of in unit_of])
    near = (unit_of[:, :, None] == unit_of[:, None, :]).any(0) & ~np.eye(size * size, dtype=bool)
    return Board(box, units, np.nonzero(near)[1].reshape(size * size, -1), unit_of)


@dataclass(frozen=True)
class Puzzles:
    """Puzzles of one board, each with one solution.

    Attributes:
        box: rows and columns of a box.
        clues: int8 [M, C], the digits that are given, 1..N, and 0 in the blanks.
        solution: int8 [M, C].
        guesses: int64 [M], guesses that `search.grade` needs; 0 where singles solve it.
        rating: float64 [M], how hard whoever made it says it is; NaN where nothing is said.
    """

    box: tuple[int, int]
    clues: Digits
    solution: Digits
    guesses: Ints
    rating: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.clues)

    def __getitem__(self, chosen: slice | NDArray[np.bool_] | Sequence[int]) -> Puzzles:
        index = chosen if isinstance(chosen, slice) else np.asarray(chosen)
        return Puzzles(self.box, self.clues[index], self.solution[index], self.guesses[index], self.rating[index])

    @property
    def size(self) -> int:
        """N."""
        return self.box[0] * self.box[1]

    @property
    def n_clues(self) -> Ints:
        """How many clues, int64 [M]."""
        found: Ints = (self.clues > 0).sum(1)
        return found


def joined(parts: Sequence[Puzzles]) -> Puzzles:
    """The puzzles of all parts, which have the same board."""
    names = ("clues", "solution", "guesses", "rating")
    return Puzzles(parts[0].box, *(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def check(puzzles: Puzzles, name: Callable[[int], str]) -> None:
    """Whether solutions are such, and keep the clues.

    Args:
        name: of the puzzle with that number, for the message.

    Raises:
        InputError: one is not.
    """
    N = puzzles.size
    for digits, least in ((puzzles.clues, 0), (puzzles.solution, 1)):
        wrong = ((digits < least) | (digits > N)).any(1)
        if wrong.any():
            raise InputError(f"{name(int(wrong.argmax()))}: a digit that is none of {least}..{N}")
    changed = ((puzzles.clues > 0) & (puzzles.clues != puzzles.solution)).any(1)
    if changed.any():
        raise InputError(f"{name(int(changed.argmax()))}: the answer changes a clue")
    invalid = ~valid(puzzles.solution, puzzles.box)
    if invalid.any():
        raise InputError(f"{name(int(invalid.argmax()))}: the answer repeats a digit in a row, column or box")


def valid(digits: Digits, box: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether every unit holds every digit 1..N once, bool [M] of [M, C]."""
    in_units = np.sort(digits[:, board(box).units], axis=-1)  # [M, 3N, N]
    return np.asarray((in_units == np.arange(1, box[0] * box[1] + 1)).all((1, 2)))


def clash(clues: Digits, box: tuple[int, int]) -> tuple[int, int] | None:
    """Two cells of a unit with the same clue, of one puzzle [C]; None where no two have."""
    for unit in board(box).units:
        seen: dict[int, int] = {}
        for cell in unit[clues[unit] > 0]:
            digit = int(clues[cell])
            if digit in seen:
                return seen[digit], int(cell)
            seen[digit] = int(cell)
    return None


def text_of(digits: Sequence[int] | Digits) -> str:
    """As a line of a file; blanks as dots."""
    return "".join("." if digit == 0 else ALPHABET[digit - 1] for digit in digits)


def lines(digits: Digits) -> Iterator[str]:
    """`text_of` of each row of [M, C]."""
    return map(text_of, digits.tolist())
