"""Mazes as arrays: which passages are open, where the way begins and ends, and how far every cell is.

A cell is row * N + column. A passage is open or closed in each of four directions, in the order of `DIRECTIONS`;
a blocked cell, as character grids have them, is one without any open passage.
Legend: M mazes, N side, C = N * N cells, P cells of the longest path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from headwise.errors import InputError

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

DIRECTIONS = ("up", "right", "down", "left")
NOWHERE = -1
"""Padding of paths, and the distance of a cell that cannot be reached."""
_NODES = 2**20  # cells searched in one call; bounds the memory, not the result


def strides(size: int) -> Ints:
    """What each direction adds to the index of a cell, int64 [4]."""
    return np.array([-size, 1, size, -1])


def opposite(direction: int) -> int:
    """The direction back."""
    return (direction + 2) % 4


@dataclass(frozen=True, eq=False)
class Mazes:
    """M mazes of one size.

    Attributes:
        open: bool [M, N, N, 4], whether the passage out of a cell in a direction is open; `check` tells what must hold.
        start, goal: cells, int64 [M].
        path: cells of a shortest path from start to goal, both included, int64 [M, P], padded with `NOWHERE`.
            Where loops make several equally short, any is right and this is one of them.
    """

    open: Bools
    start: Ints
    goal: Ints
    path: Ints

    @classmethod
    def solve(cls, passages: Bools, start: Ints, goal: Ints) -> Mazes:
        """The mazes with a shortest path each; an unsolvable one has an empty path, which `check` refuses."""
        return cls(passages, start, goal, shortest_paths(*search(passages, start), goal))

    @classmethod
    def join(cls, parts: Sequence[Mazes]) -> Mazes:
        """The mazes of all parts, in order; at least one part, all of one size."""
        width = max(part.path.shape[1] for part in parts)
        paths = [
            np.pad(part.path, ((0, 0), (0, width - part.path.shape[1])), constant_values=NOWHERE) for part in parts
        ]
        passages, start, goal = (
            np.concatenate([getattr(part, key) for part in parts]) for key in ("open", "start", "goal")
        )
        return cls(passages, start, goal, np.concatenate(paths))

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, index: Any) -> Mazes:
        """The mazes at a slice, a mask or an array of indices; a single number is not an index here."""
        return Mazes(self.open[index], self.start[index], self.goal[index], self.path[index])

    @property
    def size(self) -> int:
        """N."""
        return int(self.open.shape[1])

    @property
    def length(self) -> Ints:
        """Edges of the path, int64 [M]; -1 where there is none."""
        edges: Ints = (self.path != NOWHERE).sum(1) - 1
        return edges

    @property
    def on_path(self) -> Bools:
        """The cells of the path, bool [M, N, N]."""
        marked = np.zeros((len(self), self.size**2), dtype=bool)
        rows, places = np.nonzero(self.path != NOWHERE)
        marked[rows, self.path[rows, places]] = True
        return marked.reshape(-1, self.size, self.size)


def search(passages: Bools, source: Ints) -> tuple[Ints, Ints]:
    """Breadth-first search in every maze at once.

    Args:
        passages: bool [M, N, N, 4].
        source: the cell from which each search begins, int64 [M].

    Returns:
        distance and parent, both int64 [M, C]: edges between source and cell, and the cell before it on the way;
        `NOWHERE` where a cell cannot be reached, and for the parent of the source.
    """
    M, cells = len(passages), passages.shape[1] ** 2
    step = max(1, _NODES // cells)
    distance, parent = np.empty((2, M, cells), dtype=np.int64)
    for first in range(0, M, step):
        part = slice(first, first + step)
        distance[part], parent[part] = _search(passages[part], source[part])
    return distance, parent


def _search(passages: Bools, source: Ints) -> tuple[Ints, Ints]:
    """One search for the whole batch, from a root behind all sources; the graph is block-diagonal but for the root."""
    M, size = passages.shape[:2]
    cells, root = size * size, len(passages) * size * size
    origin = np.arange(M)[:, None] * cells
    edges = passages.reshape(root, 4)
    node, direction = np.nonzero(edges)
    heads = np.concatenate([node + strides(size)[direction], source + origin[:, 0]]).astype(np.int32)
    ends = np.zeros(root + 2, dtype=np.int32)
    np.cumsum(edges.sum(1), out=ends[1:-1])
    ends[-1] = len(heads)
    graph = csr_array((np.ones(len(heads)), heads, ends), shape=(root + 1, root + 1))
    order, before = breadth_first_order(graph, root)

    distance, parent = np.full((2, root + 1), NOWHERE)
    distance[order] = _levels(order, before) - 1
    reached = distance[:root] > 0
    parent[:root][reached] = before[:root][reached]
    parent[:root].reshape(M, cells)[...] -= np.where(reached.reshape(M, cells), origin, 0)
    return distance[:root].reshape(M, cells), parent[:root].reshape(M, cells)


def _levels(order: NDArray[np.int32], before: NDArray[np.int32]) -> Ints:
    """Depth of each node in a breadth-first order: a level is the run of nodes whose parents are the level before."""
    rank = np.empty(len(before), dtype=np.int64)
    rank[order] = np.arange(len(order))
    parents = rank[before[order[1:]]]  # ascending; the root is rank 0
    bounds = [0, 1]
    while bounds[-1] < len(order):
        bounds.append(1 + int(np.searchsorted(parents, bounds[-1])))
    return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))


def shortest_paths(distance: Ints, parent: Ints, goal: Ints) -> Ints:
    """Paths from the sources of `search` to the goals, int64 [M, P], padded with `NOWHERE`; empty where unreachable."""
    M = len(goal)
    left = distance[np.arange(M), goal]
    path = np.full((M, max(0, int(left.max(initial=-1))) + 1), NOWHERE)
    rows, cell, left = np.flatnonzero(left >= 0), goal[left >= 0], left[left >= 0]
    while len(rows):
        path[rows, left] = cell
        more = left > 0
        rows, cell, left = rows[more], parent[rows[more], cell[more]], left[more] - 1
    return path


def goal_distance(mazes: Mazes) -> Ints:
    """Edges from every cell to the goal, int64 [M, N, N]; `NOWHERE` for cells that cannot reach it."""
    return search(mazes.open, mazes.goal)[0].reshape(-1, mazes.size, mazes.size)


def optimal_moves(mazes: Mazes, distance: Ints | None = None) -> Bools:
    """The moves that bring a cell one edge nearer to the goal, bool [M, N, N, 4]; none at the goal itself.

    `distance` is `goal_distance` of the same mazes, where it is known already.
    """
    distance = goal_distance(mazes) if distance is None else distance
    nearer: Bools = shifted(distance, NOWHERE) == distance[..., None] - 1
    return mazes.open & nearer & (distance[..., None] > 0)


def shifted(values: NDArray[Any], outside: Any) -> NDArray[Any]:
    """What stands in the neighbouring cell of each direction, [M, N, N, 4] from [M, N, N]; `outside` off the border."""
    around = np.pad(values, ((0, 0), (1, 1), (1, 1)), constant_values=outside)
    inner = slice(1, -1)
    views = (around[:, :-2, inner], around[:, inner, 2:], around[:, 2:, inner], around[:, inner, :-2])
    return np.stack(views, axis=-1)


def neighbours(passages: Bools) -> Bools:
    """Which cells an open passage connects, bool [M, C, C]; a cell is not its own neighbour."""
    M, size = passages.shape[:2]
    connected = np.zeros((M, size * size, size * size), dtype=bool)
    maze, cell, direction = np.nonzero(passages.reshape(M, -1, 4))
    connected[maze, cell, cell + strides(size)[direction]] = True
    return connected


def excess(mazes: Mazes) -> Ints:
    """Edges by which each path is longer than a shortest one, int64 [M]; 0 unless the path came from elsewhere."""
    return mazes.length - search(mazes.open, mazes.start)[0][np.arange(len(mazes)), mazes.goal]


def check(mazes: Mazes, name: Callable[[int], str] = "maze {}".format) -> None:
    """Whether passages, ends and path fit together.

    Args:
        mazes: of any origin.
        name: how a message calls the maze at an index.

    Raises:
        InputError: an open border, a passage open from one side only, start or goal outside or the same cell, an
            unsolvable maze, or a path that is not one from start to goal through open passages.
    """
    size = mazes.size
    border = mazes.open & ~shifted(np.ones(mazes.open.shape[:3], dtype=bool), False)
    _refuse(border, name, lambda d, at: f"cell {at} is open to the border ({d})")
    back = np.stack([shifted(mazes.open[..., opposite(d)], False)[..., d] for d in range(4)], axis=-1)
    _refuse(mazes.open & ~back, name, lambda d, at: f"the passage {d} of cell {at} is open from one side only")
    for key in ("start", "goal"):
        cell = getattr(mazes, key)
        outside = np.flatnonzero((cell < 0) | (cell >= size * size))
        if len(outside):
            raise InputError(f"{name(int(outside[0]))}: {key} is cell {cell[outside[0]]}; choose 0..{size * size - 1}")
    for wrong, what in (
        (mazes.start == mazes.goal, "start and goal are the same cell"),
        (search(mazes.open, mazes.start)[0][np.arange(len(mazes)), mazes.goal] < 0, "unsolvable: no way to the goal"),
    ):
        if wrong.any():
            raise InputError(f"{name(int(wrong.argmax()))}: {what}")
    _check_paths(mazes, name)


def _refuse(wrong: Bools, name: Callable[[int], str], what: Callable[[str, str], str]) -> None:
    if wrong.any():
        maze, row, column, direction = (int(i) for i in np.argwhere(wrong)[0])
        raise InputError(f"{name(maze)}: {what(DIRECTIONS[direction], f'({row}, {column})')}")


def _check_paths(mazes: Mazes, name: Callable[[int], str]) -> None:
    size, M = mazes.size, np.arange(len(mazes))
    used = mazes.path != NOWHERE
    whole = (np.diff(used.astype(np.int8), axis=1) <= 0).all(1) & (mazes.path < size * size).all(1)
    whole &= (mazes.path >= NOWHERE).all(1) & used[:, 0]
    ends = whole & (mazes.path[:, 0] == mazes.start) & (mazes.path[M, mazes.length] == mazes.goal)
    if not ends.all():
        raise InputError(f"{name(int((~ends).argmax()))}: the path does not lead from start to goal")
    here, there, moved = mazes.path[:, :-1], mazes.path[:, 1:], used[:, 1:]
    allowed = mazes.open.reshape(len(mazes), -1, 4)[M[:, None], here] & (
        (there - here)[..., None] == strides(size)  # [M, P - 1, 4]
    )
    wrong = moved & ~allowed.any(-1)
    if wrong.any():
        maze, place = (int(i) for i in np.argwhere(wrong)[0])
        a, b = divmod(int(here[maze, place]), size), divmod(int(there[maze, place]), size)
        raise InputError(f"{name(maze)}: the path goes through a wall, from {a} to {b}")
