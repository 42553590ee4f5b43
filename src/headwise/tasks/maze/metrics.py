"""Metrics per maze, and their summaries with intervals.

A prediction is a walk (`walkers.walk`) or a grid of marked cells. Optimal means: exactly as many edges as a shortest
path, whichever it is; a share "within 5 %" would hide the mistakes. Legend: B mazes, N side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.maze.walkers import Walk, best, scores_of_marks, walk
from headwise.tasks.proportions import Proportion, proportion


def of_walk(walk: Walk, batch: Batch) -> dict[str, Tensor]:
    """Metrics of walks, each float [B].

    reached; optimal (reached in the smallest number of moves); excess_length (moves too many; NaN if not reached).
    """
    excess = walk.steps - batch["length"]
    return {
        "reached": walk.reached.float(),
        "optimal": (walk.reached & (excess == 0)).float(),
        "excess_length": torch.where(walk.reached, excess.float(), torch.nan),
    }


def of_moves(scores: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Metrics of the scores of moves from every cell [B, N, N, 4], with the true path given.

    path_accuracy: share of the cells of the path (the goal excepted) whose best open move brings it nearer.
    """
    chosen = best(scores, batch["open"])[..., None]  # [B, N, N, 1]
    right = batch["optimal"].gather(-1, chosen)[..., 0]
    asked = batch["on_path"].flatten(1).scatter(1, batch["goal"][:, None], False)
    return {"path_accuracy": (right.flatten(1) & asked).sum(1) / asked.sum(1)}


def of_grid(marked: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Metrics of marked cells, bool [B, N, N], each float [B].

    exact_grid (the marked cells are a shortest path, whichever, and nothing else); path_accuracy (share of the cells of
    the path that are marked); cell_accuracy (share of all cells that are marked if and only if they are on the path).
    The last two compare with the one path of the batch.
    """
    marked, path = marked.bool(), batch["on_path"]
    return {
        "exact_grid": is_shortest_path(marked, batch).float(),
        "path_accuracy": (marked & path).sum((1, 2)) / path.sum((1, 2)),
        "cell_accuracy": (marked == path).float().mean((1, 2)),
    }


def is_shortest_path(marked: Tensor, batch: Batch) -> Tensor:
    """Whether the marked cells are those of a shortest path, bool [B].

    They are if the start is marked, from each marked cell but the goal some move that brings it nearer enters a marked
    one, and there are no more than that way needs.
    """
    enters = (batch["optimal"] & (scores_of_marks(marked) > 0)).any(-1)  # [B, N, N]
    onward = enters.flatten(1).scatter(1, batch["goal"][:, None], True)
    cells = marked.flatten(1)
    start = cells.gather(1, batch["start"][:, None])[:, 0]
    return start & (~cells | onward).all(1) & (cells.sum(1) == batch["length"] + 1)


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


def is_simple_walk(walk: Walk) -> Tensor:
    """Whether a walk came to the goal and entered no cell twice, bool [B]."""
    entered = walk.cells.sort(1).values
    again = (entered[:, 1:] == entered[:, :-1]) & (entered[:, 1:] >= 0)
    return walk.reached & ~again.any(1)


@dataclass(frozen=True)
class LengthRow:
    """A metric on the mazes whose shortest path has `shortest` to `longest` edges, both included."""

    shortest: int
    longest: int
    value: Proportion


def by_length(values: Tensor, length: Tensor, rows: int = 5) -> list[LengthRow]:
    """A table over path lengths, with about equally many mazes in each row.

    Args:
        values: 0 or 1, [B].
        length: edges of the shortest paths, int64 [B].
        rows: at most so many; fewer where few lengths occur, as mazes of one length stay together.
    """
    if not len(length):
        return []
    lengths = length.cpu().numpy()
    bounds = np.unique(np.quantile(lengths, np.linspace(0, 1, rows + 1)[1:], method="higher"))
    row = torch.from_numpy(np.searchsorted(bounds, lengths)).to(values.device)
    groups = [(values[row == i], length[row.to(length.device) == i]) for i in range(len(bounds))]
    return [LengthRow(int(among.min()), int(among.max()), proportion(part)) for part, among in groups]
