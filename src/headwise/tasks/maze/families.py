"""Families of mazes: which passages of a lattice are open.

- `depth_first`: a random walk that never enters a visited cell and backs up where it must (recursive backtracker);
  few junctions and long corridors.
- `spanning_tree`: the minimum spanning tree under random weights; many junctions and short dead ends. (Not uniform
  over spanning trees, but every spanning tree occurs.)
- `percolation`: such a tree with each closed passage opened at random, so that there are loops; still connected.

Legend: M mazes, N side, C = N * N cells, E passages between neighbouring cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from headwise.tasks.maze.lattice import Bools, Ints, strides

_DRAWS = 12  # divisible by 1, 2, 3 and 4: a number below it picks one of so many directions without bias


def depth_first(count: int, size: int, rng: np.random.Generator) -> Bools:
    """Recursive backtracker, all mazes in step; bool [count, N, N, 4]."""
    width = size + 2  # a frame of cells that count as visited spares the walk the border
    maze = np.arange(count) * width * width
    framed = np.ones((count, width, width), dtype=np.int8)
    framed[:, 1:-1, 1:-1] = 0
    visited, moves = framed.reshape(-1), strides(width)
    origin = np.zeros(count * width * width, dtype=np.int64)  # the cell from which a cell was entered
    row, column = rng.integers(size, size=(2, count))
    cell = maze + (row + 1) * width + column + 1
    visited[cell], origin[cell] = 1, cell
    left = np.full(count, size * size - 1)
    passages = np.zeros((count * width * width, 4), dtype=bool)
    while len(cell):
        taken = visited[cell[:, None] + moves] @ np.array([1, 2, 4, 8], dtype=np.int8)  # four bits
        direction = _CHOICE[taken, rng.integers(_DRAWS, size=len(cell))]
        onward = np.flatnonzero(direction >= 0)
        before, direction = cell[onward], direction[onward]
        after = before + moves[direction]
        passages[before, direction] = passages[after, (direction + 2) % 4] = True
        visited[after], origin[after] = 1, before
        cell = origin[cell]  # back, but for those that go on
        cell[onward] = after
        left[onward] -= 1
        if not left.all():
            cell, left = cell[left > 0], left[left > 0]
    return passages.reshape(count, width, width, 4)[:, 1:-1, 1:-1].copy()


def _choices() -> Ints:
    """The direction for (which of the four cells around are visited, as bits; a number below `_DRAWS`); -1: none."""
    table = np.full((16, _DRAWS), -1)
    for taken, draw in itertools.product(range(15), range(_DRAWS)):
        free = [direction for direction in range(4) if not taken >> direction & 1]
        table[taken, draw] = free[draw * len(free) // _DRAWS]
    return table


_CHOICE = _choices()


def spanning_tree(count: int, size: int, rng: np.random.Generator) -> Bools:
    """Minimum spanning tree under random weights, of one block-diagonal graph for all mazes; bool [count, N, N, 4]."""
    cells = size * size
    tail, direction = np.nonzero(_lattice(size).reshape(cells, 4)[:, 1:3])  # ordered by tail: each passage once
    head = tail + strides(size)[direction + 1]
    weights = 1 + rng.random((count, len(tail)))  # [M, E]; never 0, which a sparse matrix would take for no edge
    heads = (head + cells * np.arange(count)[:, None]).ravel().astype(np.int32)
    degrees = np.tile(np.bincount(tail, minlength=cells), count)
    ends = np.concatenate([[0], np.cumsum(degrees)]).astype(np.int32)
    graph = csr_array((weights.ravel(), heads, ends), shape=(count * cells, count * cells))
    tree = minimum_spanning_tree(graph).tocoo()
    low, high = np.minimum(tree.row, tree.col), np.maximum(tree.row, tree.col)
    passages = np.zeros((count * cells, 4), dtype=bool)
    # From the lower of two cells the other lies to the right or below.
    across = high == low + 1
    for chosen, onward in ((across, 1), (~across, 2)):
        passages[low[chosen], onward] = passages[high[chosen], (onward + 2) % 4] = True
    return passages.reshape(count, size, size, 4)


def percolation(count: int, size: int, rng: np.random.Generator, loops: float) -> Bools:
    """A spanning tree, each passage closed in it opened with probability `loops`; bool [count, N, N, 4]."""
    passages = spanning_tree(count, size, rng)
    extra = rng.random((2, count, size, size - 1)) < loops
    passages[:, :, :-1, 1] |= extra[0]
    passages[:, :, 1:, 3] |= extra[0]
    passages[:, :-1, :, 2] |= extra[1].swapaxes(1, 2)
    passages[:, 1:, :, 0] |= extra[1].swapaxes(1, 2)
    return passages


def _lattice(size: int) -> Bools:
    """The passages that do not cross the border, bool [N, N, 4]."""
    passages = np.ones((size, size, 4), dtype=bool)
    passages[0, :, 0] = passages[:, -1, 1] = passages[-1, :, 2] = passages[:, 0, 3] = False
    return passages


TREES: dict[str, Callable[[int, int, np.random.Generator], Bools]] = {
    "depth_first": depth_first,
    "spanning_tree": spanning_tree,
}
"""The perfect families: exactly one way between any two cells."""

FAMILIES = (*TREES, "percolation")
