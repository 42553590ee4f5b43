"""The two read-outs: mark the cells of the path, or tell the next move from every cell.

Legend: B batch, N side, L = N * N cells, D width, K horizons.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.tasks.base import Batch
from headwise.tasks.maze import metrics
from headwise.tasks.maze.lattice import strides
from headwise.tasks.maze.walkers import scores_of_marks, walk

DEFAULT_SURE = 0.9


@dataclass(frozen=True)
class Grid:
    """Mark the cells of the path: binary cross-entropy of every cell, against the one path that the maze comes with.

    Its marks are decoded by a walk that enters the likeliest cell first.
    """


@dataclass(frozen=True)
class NextCell:
    """Tell the next moves: 4 scores for each cell and horizon; horizon k asks for the k-th move from that cell on.

    The first move may be any that brings the cell nearer to the goal, several of them in equal shares. A later one is
    the move that is made at the cell which the path (beside it: a shortest way) comes to in k - 1 moves; so there are
    four classes at every horizon, and the weights know no size. Differs from the published protocol, which had a class
    for every cell there.

    Args:
        horizon: K, moves to tell; default 1. Published: 3. Only the first decides where a walk goes.
        label_smoothing: share of the target that is spread evenly; default 0.1, as published. Over the open passages
            for the first move, over all four for later ones, which are made elsewhere.
        supervise: `path` (default): the cells of the path; `all`: every cell, so that a walk finds back.
        validity_mask: closed passages take no part in the softmax of the first move; default true, as published. Walks
            never go through walls in either case.
        decode: `once` (default): the walk follows the scores of one forward pass; `each_step`: the analysis of a run
            also reports walks that ask the model again from where they stand (`decoding`), many passes to a maze.
        sure: of `each_step`: probability of a move from which on it follows the scores it has; null (default): 0.9.

    Raises:
        ValueError: a value out of range, or `sure` without `each_step`.
    """

    horizon: int = 1
    label_smoothing: float = 0.1
    supervise: Literal["path", "all"] = "path"
    validity_mask: bool = True
    decode: Literal["once", "each_step"] = "once"
    sure: float | None = None

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"horizon={self.horizon}: choose 1 or more")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}: choose 0 <= label_smoothing < 1")
        if not 0 < self.sure_enough <= 1:
            raise ValueError(f"sure={self.sure}: choose a probability above 0, up to 1")
        # Runs from before it could be null have the default written down.
        if self.decode == "once" and self.sure not in (None, DEFAULT_SURE):
            raise ValueError(
                f"sure={self.sure}: is about decode=each_step, not decode=once; choose decode=each_step, or sure=null"
            )

    @property
    def sure_enough(self) -> float:
        """`sure`, or its default."""
        return DEFAULT_SURE if self.sure is None else self.sure


ReadOutConfig = Grid | NextCell
READ_OUTS: dict[str, type] = {"grid": Grid, "next_cell": NextCell}


class MarkedCells(nn.Module):
    """A score for every cell: above 0 it is marked. The backbone's last norm has a bias, so there is none here."""

    role = "readout"

    def __init__(self, config: Grid, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, hidden: Tensor, side: int) -> Tensor:
        """Hidden states [B, L, D] to scores [B, N, N]."""
        scores: Tensor = self.score(hidden)[..., 0].unflatten(1, (side, side))
        return scores

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Nats summed over all cells, [B]."""
        scores = _precise(scores).flatten(1)
        target = batch["on_path"].flatten(1).to(scores)
        return F.binary_cross_entropy_with_logits(scores, target, reduction="none").sum(1)

    def terms(self, batch: Batch) -> Tensor:
        """All cells, [B]."""
        return torch.ones_like(batch["on_path"], dtype=torch.int64).flatten(1).sum(1)

    def moves(self, scores: Tensor) -> Tensor:
        """Scores of the four moves from every cell, [B, N, N, 4], as walks take them."""
        return scores_of_marks(scores)

    def metrics(self, scores: Tensor, batch: Batch) -> dict[str, Tensor]:
        """optimal, reached and excess_length of the walk; exact_grid, path_accuracy and cell_accuracy of the marks."""
        return metrics.of_walk(walk(batch, self.moves(scores)), batch) | metrics.of_grid(scores > 0, batch)

    def answer(self, scores: Tensor, batch: Batch) -> Tensor:
        """Which cells are marked, 0 or 1, [B, L]."""
        return (scores > 0).flatten(1).long()

    def valid(self, scores: Tensor, batch: Batch) -> Tensor:
        """Whether the marked cells are one way from start to goal and nothing else, bool [B]."""
        return metrics.is_path(scores > 0, batch)


class Moves(nn.Module):
    """Scores of the four moves at each horizon. The backbone's last norm has a bias, so there is none here."""

    role = "readout"

    def __init__(self, config: NextCell, width: int) -> None:
        super().__init__()
        self.config = config
        self.score = nn.Linear(width, 4 * config.horizon, bias=False)

    def forward(self, hidden: Tensor, side: int) -> Tensor:
        """Hidden states [B, L, D] to scores [B, N, N, K, 4]."""
        scores: Tensor = self.score(hidden).unflatten(2, (-1, 4)).unflatten(1, (side, side))
        return scores

    def loss(self, scores: Tensor, batch: Batch) -> Tensor:
        """Nats summed over the cells that are asked and their horizons that end before the goal, [B]."""
        scores, smoothing = _precise(scores).flatten(1, 2), self.config.label_smoothing  # [B, L, K, 4]
        passages, nearer = batch["open"].flatten(1, 2), batch["optimal"].flatten(1, 2)  # [B, L, 4]
        asked = self._asked(batch)
        target = (1 - smoothing) * _shares(nearer, scores) + smoothing * _shares(passages, scores)
        terms = torch.where(asked, self._first_move(scores[:, :, 0], target, passages), 0)
        for k, move in enumerate(followed(batch, self.config.horizon)[1:], start=1):
            known = asked & (move >= 0)
            later = F.cross_entropy(
                scores[:, :, k].flatten(0, 1), move.clamp_min(0).flatten(), reduction="none", label_smoothing=smoothing
            )
            terms = terms + torch.where(known, later.view_as(terms), 0)
        return terms.sum(1)

    def terms(self, batch: Batch) -> Tensor:
        """Cells that are asked and their further horizons that end before the goal, [B]."""
        asked = self._asked(batch)
        later = [(asked & (move >= 0)).sum(1) for move in followed(batch, self.config.horizon)[1:]]
        return sum(later, asked.sum(1))

    def _asked(self, batch: Batch) -> Tensor:
        """Cells whose next move is supervised, bool [B, L]: all but the goal and those without a way to it."""
        asked = batch["optimal"].flatten(1, 2).any(-1)
        return asked & batch["on_path"].flatten(1) if self.config.supervise == "path" else asked

    def _first_move(self, scores: Tensor, target: Tensor, passages: Tensor) -> Tensor:
        """Cross-entropy [B, L] of scores and target shares [B, L, 4]; a closed passage has no share in the target."""
        if self.config.validity_mask:
            # A blocked cell has no passage, and a softmax over nothing is NaN; it is not asked.
            scores = scores.masked_fill(~passages & passages.any(-1, keepdim=True), -torch.inf)
        # Minus infinity times a target of 0 would be NaN.
        return -torch.where(target > 0, target * scores.log_softmax(-1), 0).sum(-1)

    def moves(self, scores: Tensor) -> Tensor:
        """Scores of the first move from every cell, [B, N, N, 4], as walks take them."""
        return scores[..., 0, :]

    def metrics(self, scores: Tensor, batch: Batch) -> dict[str, Tensor]:
        """optimal, reached and excess_length of the walk; path_accuracy of the moves along the path."""
        moves = self.moves(scores)
        return metrics.of_walk(walk(batch, moves), batch) | metrics.of_moves(moves, batch)

    def answer(self, scores: Tensor, batch: Batch) -> Tensor:
        """The cells of the walk, [B, T + 1]."""
        return walk(batch, self.moves(scores)).cells

    def valid(self, scores: Tensor, batch: Batch) -> Tensor:
        """Whether the walk comes to the goal and enters no cell twice, bool [B]."""
        return metrics.is_simple_walk(walk(batch, self.moves(scores)))


def followed(batch: Batch, horizon: int) -> list[Tensor]:
    """The first to K-th move made from every cell, each int64 [B, L] of directions, -1 from the goal on.

    On the path its own moves are made, elsewhere the first of those that bring nearer to the goal.
    """
    nearer, path = batch["optimal"].flatten(1, 2), batch["path"]
    B, L = nearer.shape[:2]
    offsets = torch.from_numpy(strides(batch["open"].shape[1])).to(path.device)
    move = torch.where(nearer.any(-1), nearer.byte().argmax(-1), -1)  # [B, L]
    maze, place = (path[:, 1:] >= 0).nonzero(as_tuple=True)
    here, there = path[maze, place], path[maze, place + 1]
    move[maze, here] = ((there - here)[:, None] == offsets).byte().argmax(-1)
    cell, moves = torch.arange(L, device=path.device).expand(B, L), []
    for _ in range(horizon):
        made = move.gather(1, cell)
        moves.append(made)
        cell = torch.where(made >= 0, cell + offsets[made], cell)  # at the goal it stays, where no move is made
    return moves


def _shares(chosen: Tensor, like: Tensor) -> Tensor:
    """Equal shares of 1 for the chosen among four, [B, L, 4]; none where nothing is chosen."""
    return chosen.to(like.dtype) / chosen.sum(-1, keepdim=True).clamp_min(1)


def _precise(scores: Tensor) -> Tensor:
    """At least single precision; double stays double, for finite differences."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
