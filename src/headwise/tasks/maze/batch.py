"""Mazes as the tensors that models, walkers and metrics work on."""

from __future__ import annotations

import numpy as np
import torch

from headwise.tasks.base import Batch
from headwise.tasks.maze.lattice import Mazes, goal_distance, optimal_moves


def tensors(mazes: Mazes) -> Batch:
    """All mazes as one batch. B mazes, N side, P cells of the longest path.

    Returns:
        open        bool [B, N, N, 4], passages up, right, down, left
        start, goal int64 [B], row * N + column
        path        int64 [B, P], cells of the path that the maze comes with, padded with -1; where a file brought it,
                    it may be longer than the shortest
        on_path     bool [B, N, N], the same as a grid
        length      int64 [B], edges of a shortest path
        optimal     bool [B, N, N, 4], moves that bring a cell nearer to the goal; several where there are loops
    """
    arrays = {key: getattr(mazes, key) for key in ("open", "start", "goal", "path", "on_path")}
    distance = goal_distance(mazes)
    arrays["length"] = distance.reshape(len(mazes), -1)[np.arange(len(mazes)), mazes.start]
    arrays["optimal"] = optimal_moves(mazes, distance)
    return {key: torch.from_numpy(array) for key, array in arrays.items()}
