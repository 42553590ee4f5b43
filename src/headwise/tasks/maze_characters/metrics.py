"""Metrics of answers in characters, per maze. Legend: B mazes, N side, L = N * N characters."""

from __future__ import annotations

from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.maze.metrics import is_path, is_shortest_path
from headwise.tasks.maze_characters.characters import answer, marked, marks

METRICS = ("exact", "optimal", "valid", "characters_right")


def of_answer(written: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Metrics of what was written, int64 [B, L], each float [B].

    exact: every character is that of the answer, as published: where loops make several ways equally short, only the
    one that the maze comes with counts. optimal: the path is a shortest one, whichever. valid: it is one way from start
    to goal, however long. The last two look at where the path is, wherever else characters are wrong.
    characters_right: their share.
    """
    right, way = written == answer(batch), marks(written, batch)
    return {
        "exact": right.all(1).float(),
        "optimal": is_shortest_path(way, batch).float(),
        "valid": is_path(way, batch).float(),
        "characters_right": right.float().mean(1),
    }


def agrees(written: Tensor, batch: Batch) -> Tensor:
    """Whether what was written, int64 [B, L], is the question with one way from start to goal in it, bool [B]: walls,
    open characters and the two ends are where they were asked about."""
    way = marks(written, batch)
    return (written == marked(batch, way)).all(1) & is_path(way, batch)
