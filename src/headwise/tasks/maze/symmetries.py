"""The eight symmetries of the square: a maze turned or mirrored is a maze, and its path goes along.

Symmetry s transposes first if s >= 4, then turns s % 4 quarters clockwise; s = 0 leaves everything as it is.
Legend: B batch, N side, C = N * N cells, P cells of the longest path.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headwise.tasks.base import Batch

COUNT = 8
_TRANSPOSED = np.array([3, 2, 1, 0])  # what up, right, down and left become


@dataclass(frozen=True)
class Symmetries:
    """Tables for mazes of one size.

    Attributes:
        cell_from: int64 [8, C], the old cell that comes to stand in each new one.
        cell_to: int64 [8, C], its reverse: where each old cell goes.
        direction_from: int64 [8, 4], the old direction that becomes each new one.
    """

    cell_from: Tensor
    cell_to: Tensor
    direction_from: Tensor

    @classmethod
    def of(cls, size: int) -> Symmetries:
        """The tables for N x N cells."""
        grid = np.arange(size * size).reshape(size, size)
        images = [np.rot90(grid.T if s >= 4 else grid, -(s % 4)).ravel() for s in range(COUNT)]
        turned = [((_TRANSPOSED if s >= 4 else np.arange(4)) + s % 4) % 4 for s in range(COUNT)]
        cells, directions = np.stack(images), np.stack(turned)
        return cls(*map(torch.from_numpy, (cells, cells.argsort(1), directions.argsort(1))))

    def apply(self, batch: Batch, symmetry: Tensor) -> Batch:
        """The batch with each maze under its own symmetry (int64 [B]); keys as `batch.tensors` gives them."""
        cells, to, directions = self.cell_from[symmetry], self.cell_to[symmetry], self.direction_from[symmetry]
        path = batch["path"]
        moved = {
            "start": to.gather(1, batch["start"][:, None])[:, 0],
            "goal": to.gather(1, batch["goal"][:, None])[:, 0],
            "path": torch.where(path >= 0, to.gather(1, path.clamp_min(0)), path),
            "on_path": batch["on_path"].flatten(1).gather(1, cells).view_as(batch["on_path"]),
        }
        for key in ("open", "optimal"):
            in_place = batch[key].flatten(1, 2).gather(1, cells[..., None].expand(-1, -1, 4))  # [B, C, 4]
            around = directions[:, None].expand_as(in_place)
            moved[key] = in_place.gather(2, around).view_as(batch[key])
        return batch | moved
