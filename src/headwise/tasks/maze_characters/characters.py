"""A batch of mazes as characters: what is asked, and what is to be answered.

Legend: B mazes, N side, L = N * N characters in the order of rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.tasks.base import Batch

CHARACTERS = "# SGo"
"""The public alphabet in its order; the last one stands in answers alone."""
WALL, OPEN, START, GOAL, PATH = range(len(CHARACTERS))
ASKED = PATH
"""How many different characters a question has."""


def question(batch: Batch) -> Tensor:
    """Wall, open, start or goal, int64 [B, L]. An open character that touches no other is a wall: no way leads there.

    Args:
        batch: as `maze.batch.tensors` gives it, of mazes in which walls are blocked cells.
    """
    free = batch["open"].any(-1).flatten(1)
    asked = torch.where(free, OPEN, WALL)
    return asked.scatter(1, batch["start"][:, None], START).scatter(1, batch["goal"][:, None], GOAL)


def marked(batch: Batch, marks: Tensor) -> Tensor:
    """The question with a path written over it where bool [B, N, N] says so, the two ends apart; int64 [B, L]."""
    asked = question(batch)
    return torch.where(marks.flatten(1) & (asked != START) & (asked != GOAL), PATH, asked)


def answer(batch: Batch) -> Tensor:
    """The question with the path that the maze comes with, int64 [B, L]."""
    return marked(batch, batch["on_path"])


def marks(written: Tensor, batch: Batch) -> Tensor:
    """The cells that an answer int64 [B, L] calls path, and the two ends, bool [B, N, N]."""
    way = written == PATH
    for end in ("start", "goal"):
        way = way.scatter(1, batch[end][:, None], True)
    return way.view_as(batch["on_path"])
