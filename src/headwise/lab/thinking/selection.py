"""Which of several answers is taken. No rule knows the right one.

Legend: K restarts, N examples.

    residual    the answer that the last step moved least:  argmin_k r_k
    halting     the answer that learned halting is surest of:  argmax_k q_k
    majority    the whole answer that most restarts give
    valid       of the answers that agree with the question the one with the smallest residual; of all, where none does

Where several are as good the first restart counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Which = NDArray[np.int64]
"""For each example the place of a restart, [N]."""


@dataclass(frozen=True)
class Candidates:
    """What is known of the answers of K restarts to each of N examples, without knowing the right one.

    Attributes:
        residual: how far the last update moved the state, float [K, N].
        halting: what learned halting says, the larger the surer, float [K, N]; None without one.
        answer: equal numbers for equal answers, int64 [K, N]; None where the task does not tell them apart.
        valid: whether an answer agrees with the question, bool [K, N]; None where the task has no such check.
    """

    residual: NDArray[np.float64]
    halting: NDArray[np.float64] | None = None
    answer: NDArray[np.int64] | None = None
    valid: NDArray[np.bool_] | None = None

    def first(self, number: int) -> "Candidates":
        """Those of the first so many restarts."""
        parts = (self.residual, self.halting, self.answer, self.valid)
        return Candidates(*(None if part is None else part[:number] for part in parts))  # type: ignore[arg-type]


def select(rule: str, among: Candidates) -> Which:
    """The restart whose answer a rule takes, for each example, int64 [N]."""
    return RULES[rule](among)


def _residual(among: Candidates) -> Which:
    return _least(among.residual)


def _halting(among: Candidates) -> Which:
    assert among.halting is not None
    return _least(-among.halting)


def _majority(among: Candidates) -> Which:
    assert among.answer is not None
    # One restart at a time: K x K x N numbers at once are many
    votes = np.stack([(among.answer == own).sum(0) for own in among.answer])  # [K, N]
    return _least(-votes)


def _valid(among: Candidates) -> Which:
    assert among.valid is not None
    allowed = among.valid | ~among.valid.any(0)
    return _least(among.residual, allowed)


def _least(cost: NDArray[Any], allowed: NDArray[np.bool_] | bool = True) -> Which:
    """The first of the smallest costs [K, N] that are allowed; a NaN, as of a state that grew without bound, is larger
    than any."""
    known = np.where(np.isnan(cost), np.finfo(np.float64).max, cost)
    return np.asarray(np.where(allowed, known, np.inf).argmin(0), dtype=np.int64)


RULES: dict[str, Callable[[Candidates], Which]] = {
    "residual": _residual,
    "halting": _halting,
    "majority": _majority,
    "valid": _valid,
}

ABOUT = {
    "residual": "the answer that the last step moved least",
    "halting": "the answer that the learned halting is surest of",
    "majority": "the whole answer that most restarts give, of several the first",
    "valid": "of the answers that agree with the question, or where none does of all, the one that moved least last",
}


def taken(values: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """The values [K, N] of the chosen restarts [N], [N]."""
    return np.asarray(np.take_along_axis(values, chosen[None], 0)[0])


def bounds(values: NDArray[np.float64], higher_is_better: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a restart at random would have on each example, and the best of all, from values [K, N]; both [N].

    A NaN, where a restart has nothing to measure, counts for neither.
    """
    known = np.isfinite(values).sum(0)
    total = np.where(np.isfinite(values), values, 0).sum(0)
    best = np.fmax if higher_is_better else np.fmin
    return np.where(known > 0, total / np.maximum(known, 1), np.nan), best.reduce(values, axis=0)


def stacked(parts: Sequence[NDArray[np.generic] | None]) -> NDArray[np.generic] | None:
    """K arrays [N] as one [K, N]; None where there are none."""
    return None if any(part is None for part in parts) else np.stack([part for part in parts if part is not None])
