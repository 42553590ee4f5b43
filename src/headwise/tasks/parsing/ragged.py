"""Rows of different lengths in one flat array, padded to a batch in one go.

Legend: N rows, T values in all of them, B batch, L length of the longest row in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Ragged:
    """N rows, one after the other.

    Attributes:
        values: [T, ...].
        starts: int64 [N + 1]; row n is values[starts[n] : starts[n + 1]].
    """

    values: NDArray[Any]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Ragged:
        """From lists of integers."""
        flat = [value for row in rows for value in row]
        return cls(np.asarray(flat, dtype=np.int32), starts_of([len(row) for row in rows]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of every row, [N]."""
        return np.diff(self.starts)

    def places(self, index: Tensor) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Where the rows `index` [B] lie in `values`, [B, L], and which places are real; the others are 0."""
        rows = index.numpy()
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max(initial=0))
        real = steps < lengths[:, None]  # [B, L]
        return np.where(real, self.starts[rows, None] + steps, 0), real

    def batch(self, index: Tensor, fill: int = 0) -> Tensor:
        """The rows `index` [B], padded with `fill`: [B, L, ...], whole numbers as int64, others as float32."""
        places, real = self.places(index)
        taken = self.values[places]
        taken[~real] = fill
        kind = np.int64 if np.issubdtype(taken.dtype, np.integer) else np.float32
        return torch.from_numpy(taken.astype(kind))


def starts_of(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Lengths [N] to starts [N + 1]."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
