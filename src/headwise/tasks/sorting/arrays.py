"""Sorting under partial observability: the arrays.

An array holds n distinct integers from {-100..99}, drawn without replacement; a uniformly random subset of
m = n - round(n * mask_rate) of them is visible, the other k = n - m are masked. All n have to be put in order.
Legend: B batch, n elements (`length`), h hints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from headwise.tasks.base import Batch
from headwise.tasks.sorting.hints import CODES, draw_hints, pairs_of, pairs_within

LOWEST, HIGHEST = -100, 99
POOL = HIGHEST - LOWEST + 1
"""Number of integers that an array is drawn from."""

EPOCH = 1000
"""Examples that a training set without end calls an epoch: as many as the default fixed set holds."""


@dataclass(frozen=True)
class SortingConfig:
    """The task `sorting`; the defaults are the published sizes, with a test set large enough to tell arms apart.

    Args:
        length: n, elements per array.
        mask_rate: fraction of the elements that is masked; at least two stay visible.
        train_examples: size of the training set; 0 draws fresh arrays for ever, `EPOCH` to an epoch.
        validation_examples: size of the validation set.
        test_examples: size of the test set; 5000 gives a standard error of 0.002 (n=12) or less.
        read_out: `expected_rank`, or the original's greedy `pointer` (0.40 even from the exact posterior).
        hints: comparisons revealed per array, drawn uniformly from the pairs with a masked element.
        hint_span: reveals instead every comparison with a masked element between elements whose true ranks differ
            by at most this much: 1 makes the longest chains. The order is then determined and the ceiling is 1.
        hint_codes: identity codes that the elements of an array draw theirs from; null: n of them. More make the task
            harder to learn; a model that is to read hints at several lengths needs the largest.
        reference_examples: arrays whose exact posterior is computed for the ceiling when there are hints, which
            can take 20 ms each; without hints a closed form covers all.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    length: int = 20
    mask_rate: float = 0.5
    train_examples: int = 1000
    validation_examples: int = 300
    test_examples: int = 5000
    read_out: Literal["expected_rank", "pointer"] = "expected_rank"
    hints: int = 0
    hint_span: int | None = None
    hint_codes: int | None = None
    reference_examples: int = 1000

    def __post_init__(self) -> None:
        n = self.length
        if not 2 <= n <= POOL:
            raise ValueError(f"task.length={n}: choose 2..{POOL}, the integers of an array are distinct")
        if not 0 <= self.mask_rate <= 1:
            raise ValueError(f"task.mask_rate={self.mask_rate}: choose 0..1")
        if self.visible < 2:
            raise ValueError(
                f"task.mask_rate={self.mask_rate} leaves {self.visible} of task.length={n} elements visible; at least "
                f"2 are needed: choose mask_rate <= {int(1000 * (n - 2) / n) / 1000}"
            )
        if self.train_examples < 0:
            raise ValueError(f"task.train_examples={self.train_examples}: choose 1 or more, or 0 for fresh examples")
        for name in ("validation_examples", "test_examples", "reference_examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"task.{name}={getattr(self, name)}: choose 1 or more")
        self._check_hints()

    def _check_hints(self) -> None:
        available = pairs_of(self.length) - pairs_of(self.visible)
        if not 0 <= self.hints <= available:
            raise ValueError(f"task.hints={self.hints}: choose 0..{available}, the pairs that have a masked element")
        if self.hint_span is not None and not 1 <= self.hint_span < self.length:
            raise ValueError(f"task.hint_span={self.hint_span}: choose 1..{self.length - 1}, or null")
        if self.hint_span is not None and self.hints:
            raise ValueError(
                f"task.hints={self.hints} with task.hint_span={self.hint_span}: a part of the near pairs would tell "
                "more than their outcomes; choose hints=0 to reveal all of them, or hint_span=null"
            )
        if self.has_hints and self.length > CODES:
            raise ValueError(f"task.length={self.length} with hints: choose at most {CODES}, the identity codes")
        if self.hint_codes is not None and not self.length <= self.hint_codes <= CODES:
            raise ValueError(f"task.hint_codes={self.hint_codes}: choose {self.length}..{CODES}, or null")

    @property
    def visible(self) -> int:
        """m, the number of visible elements."""
        return self.length - round(self.length * self.mask_rate)

    @property
    def has_hints(self) -> bool:
        """Whether arrays come with comparisons."""
        return self.hints > 0 or self.hint_span is not None

    @property
    def hint_tokens(self) -> int:
        """h, hint tokens per array; with `hint_span` the most that there can be, the rest is padding."""
        return self.hints if self.hint_span is None else pairs_within(self.length, self.hint_span)


def generate(config: SortingConfig, count: int, seed: list[int]) -> Batch:
    """`count` arrays, a function of `config` and `seed` alone.

    Returns:
        values int64 [count, n]; visible bool [count, n]; ranks int64 [count, n], 0 for the smallest.
        With hints also codes int64 [count, n], the identity of each element; hints int64 [count, h, 2], positions of
        the two elements compared; outcomes bool [count, h], whether the first is the smaller; and, where some hint
        tokens are padding, mask bool [count, n + h], True for the real ones.
    """
    n, rng = config.length, np.random.default_rng(seed)
    values = rng.random((count, POOL)).argsort(axis=1)[:, :n] + LOWEST
    visible = rng.random((count, n)).argsort(axis=1) < config.visible
    ranks = values.argsort(axis=1).argsort(axis=1)
    arrays = {"values": values, "visible": visible, "ranks": ranks}
    if config.has_hints:
        arrays["codes"] = rng.random((count, config.hint_codes or n)).argsort(axis=1)[:, :n]
        hints, real = draw_hints(ranks, visible, config.hint_tokens, config.hint_span, rng)
        compared = np.take_along_axis(ranks[:, None], hints, axis=2)  # [count, h, 2]
        arrays["hints"], arrays["outcomes"] = hints, compared[..., 0] < compared[..., 1]
        if config.hint_span is not None:
            arrays["mask"] = np.concatenate([np.ones((count, n), dtype=bool), real], axis=1)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
