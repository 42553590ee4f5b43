"""McNemar's exact test: two trained models that are right or wrong on the same test examples.

It speaks of the models as trained, not of the next seed: what is random is which examples were drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.floating]


@dataclass(frozen=True)
class Discordant:
    """Examples on which two models differ, under one seed: only `a` right, only `b` right, and McNemar's p value."""

    only_a: int
    only_b: int
    p: float


def is_share(tests: Sequence[Sequence[Values]]) -> bool:
    """Whether every value on the test examples is 0 or 1, or nan for nothing to measure."""
    return bool(tests) and all(bool(np.all(np.isin(part, (0, 1)) | np.isnan(part))) for pair in tests for part in pair)


def mcnemar(ours: Values, theirs: Values) -> Discordant:
    """McNemar's (1947) test in its exact form: of the examples on which the models differ, half favour each.

    Args:
        ours, theirs: 0 or 1 for each example, [n]; nan leaves an example out.
    """
    only_a, only_b = int(np.sum(ours > theirs)), int(np.sum(theirs > ours))
    differing = only_a + only_b
    return Discordant(only_a, only_b, float(stats.binomtest(only_a, differing).pvalue) if differing else 1.0)


def sign_flip_p(tests: Sequence[tuple[Values, Values]]) -> float:
    """The same for all seeds together, exactly: under the null each example may swap its arms, for all seeds at once.

    Seeds that share a test set are not independent there, so their counts may not be added. An example whose arms
    differ by k of its seeds adds k or -k to the sum, each with probability 1/2; the sum over examples is compared with
    that distribution. With one seed this is McNemar's test.

    Args:
        tests: for each test set the values of both arms, [seeds, examples], 0 or 1.
    """
    sums = np.concatenate([np.nansum(ours - theirs, axis=0).astype(int) for ours, theirs in tests])
    sizes = np.bincount(np.abs(sums))
    flips = np.ones(1)  # distribution of how much of all k is positive
    for size, count in enumerate(sizes):
        if size and count:
            own = np.zeros(size * count + 1)
            own[::size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
            flips = np.convolve(flips, own)
    away = np.abs(2 * np.arange(len(flips)) - (len(flips) - 1))
    return float(min(1.0, flips[away >= abs(int(sums.sum()))].sum()))
