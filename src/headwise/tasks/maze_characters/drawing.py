"""Lattice mazes drawn in characters: cells and open passages are open characters, everything else is wall.

A lattice of n x n cells makes 2n + 1 characters a side with the wall around it: its cells stand at odd rows and
columns, its passages between them. A grid of an even side, as the public one of 30, is such a drawing without the last
row and column of wall, the edge of the grid closing it there: 30 characters are 15 cells. (Under the symmetries of the
square, in training, the two missing sides are any two that meet.)

As everywhere in the folder `maze`, such a grid is a maze of N x N cells, N characters on a side, in which walls are
blocked cells; lengths of paths are moves from character to character, two for each move on the lattice.
Legend: M mazes, N characters on a side, n lattice cells on a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from headwise.tasks.maze import families
from headwise.tasks.maze.generate import LARGEST
from headwise.tasks.maze.lattice import Bools, Mazes, shifted

SMALLEST = 5
_STREAM = 16  # apart from those of lattice mazes, and a part of the format


@dataclass(frozen=True)
class DrawingConfig:
    """Which mazes are drawn. All are perfect, so that between any two characters there is one way.

    Start and goal are any two open characters whose distance is in the range.

    Args:
        size: N, characters on a side.
        family: `depth_first` (default; long corridors) or `spanning_tree`.
        min_path_length, max_path_length: moves from character to character, at least and at most; null: no limit.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    size: int = 11
    family: Literal["depth_first", "spanning_tree"] = "depth_first"
    min_path_length: int = 1
    max_path_length: int | None = None

    def __post_init__(self) -> None:
        if not SMALLEST <= self.size <= LARGEST:
            raise ValueError(f"size={self.size}: choose {SMALLEST}..{LARGEST} characters")
        if self.family not in families.TREES:
            raise ValueError(f"family={self.family}: choose one of {', '.join(families.TREES)}")
        longest, cells = 2 * (self.cells**2 - 1), f"{self.cells} x {self.cells} cells"
        if not 1 <= self.min_path_length <= longest:
            raise ValueError(
                f"min_path_length={self.min_path_length}: choose 1..{longest}, a path through all of the {cells} that "
                f"size={self.size} characters hold"
            )
        if self.max_path_length is not None and self.max_path_length < self.min_path_length:
            raise ValueError(
                f"max_path_length={self.max_path_length}: choose {self.min_path_length} (min_path_length) or more, "
                "or null"
            )

    @property
    def cells(self) -> int:
        """n, lattice cells on a side."""
        return self.size // 2

    @property
    def stream(self) -> int:
        return _STREAM + tuple(families.TREES).index(self.family)

    def passages(self, count: int, rng: np.random.Generator) -> Bools:
        """The mazes as passages between characters, bool [count, N, N, 4]."""
        return between(drawn(families.TREES[self.family](count, self.cells, rng), self.size))


def drawn(lattice: Bools, size: int) -> Bools:
    """Which characters are open, bool [M, N, N], in the drawing of lattice mazes bool [M, n, n, 4], n = N // 2."""
    M, n = lattice.shape[:2]
    free = np.zeros((M, 2 * n + 1, 2 * n + 1), dtype=bool)
    free[:, 1::2, 1::2] = True
    free[:, 1::2, 2::2] = lattice[..., 1]  # to the right
    free[:, 2::2, 1::2] = lattice[..., 2]  # down
    return free[:, :size, :size]


def between(free: Bools) -> Bools:
    """The passages of a grid in characters, bool [M, N, N, 4]: between any two open neighbours."""
    passages: Bools = free[..., None] & shifted(free, False)
    return passages


def thin_walls(mazes: Mazes) -> Bools:
    """Which mazes have a wall between two open cells that touch, bool [M]: characters cannot show it."""
    free = np.asarray(mazes.open.any(-1))
    return np.asarray((between(free) & ~mazes.open).any((1, 2, 3)))
