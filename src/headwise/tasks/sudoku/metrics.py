"""Metrics per puzzle. Legend: B puzzles, N side, C = N * N cells."""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.sudoku.board import board


def measure(answer: Tensor, batch: Batch, box: tuple[int, int]) -> dict[str, Tensor]:
    """Metrics of answers [B, C], each float [B].

    exact: every cell is right; blanks: share of the blanks that are; valid: no unit repeats a digit, and no clue is
    changed, which of a puzzle with one solution is the same as exact.
    """
    right, blank = answer == batch["solution"], batch["clues"] == 0
    return {
        "exact": right.all(1).float(),
        "blanks": (right & blank).sum(1) / blank.sum(1),
        "valid": agrees(answer, batch, box).float(),
    }


def agrees(answer: Tensor, batch: Batch, box: tuple[int, int]) -> Tensor:
    """Whether every unit holds every digit once and the clues stand in the answer, bool [B] of [B, C]."""
    return valid(answer, box) & keeps_clues(answer, batch["clues"])


def valid(answer: Tensor, box: tuple[int, int]) -> Tensor:
    """Whether every unit holds every digit once, bool [B] of [B, C]."""
    N = box[0] * box[1]
    units = torch.from_numpy(board(box).units).to(answer.device)
    inside = answer[:, units].sort(-1).values  # [B, 3 N, N]
    return (inside == torch.arange(1, N + 1, device=answer.device)).all(-1).all(-1)


def keeps_clues(answer: Tensor, clues: Tensor) -> Tensor:
    """Whether the clues stand in the answer, bool [B] of two [B, C]."""
    return ((clues == 0) | (answer == clues)).all(1)
