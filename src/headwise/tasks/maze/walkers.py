"""Walking a maze step by step, all mazes at once, and what walkers reach that know little or everything.

The walk of the published protocol: in each cell the best-scored open passage to a cell not visited before; where all
neighbours were visited, the best-scored open passage. It ends at the goal or when the steps are used up, and it never
goes through a wall. In a perfect maze a walk that reaches the goal without going back has found the shortest path.
Legend: B mazes, A of them still walking, C = N * N cells, T steps of the longest walk.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.lattice import NOWHERE, Mazes, strides

Scores = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(mazes int64 [A], their current cells int64 [A], directions to choose from bool [A, 4]) -> scores, float [A, 4]."""


@dataclass(frozen=True)
class Walk:
    """Where B walks went.

    Attributes:
        cells: start and every cell entered, int64 [B, T + 1], padded with -1.
        reached: whether the goal was, bool [B].
    """

    cells: Tensor
    reached: Tensor

    @property
    def steps(self) -> Tensor:
        """Moves made, int64 [B]."""
        return (self.cells != NOWHERE).sum(1) - 1


def walk(batch: Batch, scores: Tensor | Scores, max_steps: int | None = None) -> Walk:
    """Greedy walks that prefer cells not visited before.

    Args:
        batch: of it `open`, `start` and `goal`.
        scores: of the four moves from every cell, float [B, N, N, 4], fixed for the maze; or a function that is asked
            once per step, about all mazes still walking together. Equal scores: the first in the order of directions.
            Scores of closed passages and of the goal's moves have no effect.
        max_steps: moves after which a walk has failed; default N * N, the number of cells: no shortest path is longer.
    """
    start, goal, device = batch["start"], batch["goal"], batch["open"].device
    B, size = batch["open"].shape[:2]
    cells, offsets = size * size, torch.from_numpy(strides(size)).to(device)
    passages = batch["open"].reshape(B, cells, 4)
    ask = _fixed(scores) if isinstance(scores, Tensor) else scores
    visited = torch.zeros(B, cells, dtype=torch.bool, device=device)
    visited[torch.arange(B, device=device), start] = True
    reached = start == goal
    maze = (~reached & passages[torch.arange(B, device=device), start].any(1)).nonzero()[:, 0]
    here, trail = start[maze], [start]
    for _ in range(cells if max_steps is None else max_steps):
        if not len(maze):
            break
        allowed = passages[maze, here]  # [A, 4]
        fresh = allowed & ~visited[maze[:, None], (here[:, None] + offsets).clamp(0, cells - 1)]
        allowed = torch.where(fresh.any(1, keepdim=True), fresh, allowed)
        here = here + offsets[best(ask(maze, here, allowed), allowed)]
        visited[maze, here] = True
        trail.append(torch.full_like(start, NOWHERE).index_copy_(0, maze, here))
        arrived = here == goal[maze]
        reached[maze[arrived]] = True
        maze, here = maze[~arrived], here[~arrived]
    return Walk(torch.stack(trail, dim=1), reached)


def best(scores: Tensor, allowed: Tensor) -> Tensor:
    """The allowed direction of the highest score, int64 [...] from two [..., 4]; scores may be infinite or NaN."""
    # A finite stand-in for infinities keeps every allowed direction above the others.
    return torch.where(allowed, scores.float().nan_to_num(), -torch.inf).argmax(-1)


def _fixed(scores: Tensor) -> Scores:
    flat = scores.reshape(len(scores), -1, 4)
    return lambda maze, cell, _: flat[maze, cell]


def scores_of_marks(marks: Tensor) -> Tensor:
    """Scores of moves, float [B, N, N, 4], from scores of cells [B, N, N]: a move is worth the cell that it enters.

    So a walk follows what a grid read-out marked.
    """
    around = torch.nn.functional.pad(marks.float(), (1, 1, 1, 1), value=-torch.inf)
    inner = slice(1, -1)
    return torch.stack(
        [around[:, :-2, inner], around[:, inner, 2:], around[:, 2:, inner], around[:, inner, :-2]], dim=-1
    )


def at_random(seed: int) -> Scores:
    """Every move as good as any other."""
    generator = torch.Generator().manual_seed(seed)
    return lambda maze, *_: torch.rand(len(maze), 4, generator=generator)


def toward_goal(goal: Tensor, size: int, seed: int) -> Scores:
    """Moves that shorten the way to the goal as the crow flies along rows and columns; ties at random."""
    generator = torch.Generator().manual_seed(seed)

    def scores(maze: Tensor, cell: Tensor, _: Tensor) -> Tensor:
        down, right = goal[maze] // size - cell // size, goal[maze] % size - cell % size
        gain = torch.stack([-down, right, down, -right], dim=1).sign().float()  # [A, 4]; 0: neither nearer nor there
        return torch.where(gain > 0, 1.0, 0.0) + torch.rand(len(maze), 4, generator=generator) / 2

    return scores


def references(mazes: Mazes, seed: int = 0) -> dict[str, Walk]:
    """The walks of who knows nothing (`random`), the direction (`toward_goal`), everything (`breadth_first`)."""
    batch = tensors(mazes)
    return {
        "random": walk(batch, at_random(seed)),
        "toward_goal": walk(batch, toward_goal(batch["goal"], mazes.size, seed)),
        "breadth_first": walk(batch, batch["optimal"]),
    }
