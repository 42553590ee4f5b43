"""Walks that ask the model again from where they stand, instead of following the scores of one forward pass.

Asking again means: the same maze with its start moved to the walker's cell, so a model needs no input of its own for
it. All mazes that ask do so in one forward pass. With `sure` above 1 the model is asked at every choice, but for two
savings that leave the walk as it is: where a single move is left to choose, which in a corridor is every one, nobody
needs to be asked; and what was asked from a cell would be answered the same way again, so the answer is kept for a walk
that comes back. Otherwise, as long as the model was sure of its moves, the scores of the latest pass are followed, too.
Legend: B mazes, A of them still walking, N side, C = N * N cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.maze.model import MazeTask
from headwise.tasks.maze.walkers import Walk, walk

EVERY_CHOICE = 2.0
"""A `sure` that no probability reaches."""


class AskingAgain:
    """Scores for `walkers.walk` from a model that is asked where it is not sure.

    Args:
        model: of the task `maze`.
        batch: B mazes; they are asked about from their start when the first step is made.
        sure: probability of the best move, among those to choose from, from which on the scores at hand are followed.

    Attributes:
        scores: float [B, C, 4], of each cell as it was answered from there, else by the latest pass.
        answered: bool [B, C], the cells from which the model was asked.
    """

    def __init__(self, model: TaskModel, batch: Batch, sure: float) -> None:
        self.model, self.batch, self.sure = model, batch, sure
        B, N = batch["open"].shape[:2]
        self.scores = torch.zeros(B, N * N, 4, device=batch["open"].device)
        self.answered = torch.zeros(B, N * N, dtype=torch.bool, device=batch["open"].device)

    @property
    def passes(self) -> Tensor:
        """How often the model was asked about each maze, int64 [B]."""
        return self.answered.sum(1)

    def __call__(self, maze: Tensor, cell: Tensor, allowed: Tensor) -> Tensor:
        """The scores [A, 4] at the cells [A] of the mazes [A], where the moves [A, 4] are to choose from."""
        unsure = self.scores[maze, cell].masked_fill(~allowed, -torch.inf).softmax(-1).amax(-1) < self.sure
        first = ~self.answered[maze].any(1)
        asking = first | (allowed.sum(-1) > 1) & unsure & ~self.answered[maze, cell]
        if asking.any():
            self._ask(maze[asking], cell[asking])
        return self.scores[maze, cell]

    def _ask(self, maze: Tensor, cell: Tensor) -> None:
        asked = {name: array[maze] for name, array in self.batch.items()} | {"start": cell}
        task = self.model.task
        assert isinstance(task, MazeTask)
        prediction = task.read_out(self.model(asked).states[-1], asked)
        answer = task.moves(prediction).flatten(1, 2).to(self.scores)
        kept = self.answered[maze, :, None]
        self.scores[maze] = torch.where(kept, self.scores[maze], answer)
        self.answered[maze, cell] = True


@dataclass(frozen=True)
class Decoded:
    """Walks, and how often the model was asked about each maze, int64 [B]."""

    walk: Walk
    passes: Tensor


@torch.no_grad()
def walk_asking(model: TaskModel, batch: Batch, sure: float = EVERY_CHOICE) -> Decoded:
    """Walk all mazes of a batch with a model in evaluation mode, one forward pass at most for each step of the walks.

    Args:
        model: of the task `maze` with the read-out `next_cell`.
        batch: the mazes.
        sure: from which probability on to commit moves without asking again; by default it is asked at every choice.
    """
    scores = AskingAgain(model, batch, sure)
    walked = walk(batch, scores)
    return Decoded(walked, scores.passes)
