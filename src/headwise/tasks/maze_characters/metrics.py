"""Metrics of answers in characters, per maze. Legend: B mazes, N side, L = N * N characters."""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.maze.metrics import is_shortest_path
from headwise.tasks.maze.walkers import scores_of_marks, walk
from headwise.tasks.maze_characters.characters import answer, marks

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


def is_path(way: Tensor, batch: Batch) -> Tensor:
    """Whether the cells bool [B, N, N] are one way from start to goal, start and goal included; bool [B].

    It goes through open passages, has no branch and does not touch itself, and there are no cells beside it.
    """
    passages = batch["open"] & way[..., None] & (scores_of_marks(way) > 0)  # [B, N, N, 4]
    onward = torch.full_like(way.flatten(1), 2, dtype=torch.int64)
    for end in ("start", "goal"):
        onward = onward.scatter(1, batch[end][:, None], 1)
    joined = ((passages.sum(-1).flatten(1) == onward) | ~way.flatten(1)).all(1)  # one way, and rings beside it
    # Where that does not hold nobody sets out, which spares long walks in circles
    followed = {"open": passages & joined[:, None, None, None], "start": batch["start"], "goal": batch["goal"]}
    walked = walk(followed, torch.zeros_like(passages, dtype=torch.float32))
    return walked.reached & (walked.steps + 1 == way.flatten(1).sum(1))
