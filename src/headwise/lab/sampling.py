"""The noise of a test sample: how far a mean over seeds could lie elsewhere had other test examples been drawn.

Legend: K seeds, n test examples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sampling:
    """What the choice of the test examples does to a mean over K seeds.

    Attributes:
        variance: of that mean, from the test examples alone.
        shared: the part of it that all seeds have in common because they share their test examples; the scatter of the
            seeds does not show it. 0 where each seed draws its own.
        examples: number of distinct test examples.
    """

    variance: float
    shared: float
    examples: int


def sampling(parts: Sequence[NDArray[np.floating]]) -> Sampling | None:
    """The noise of the test sample in the mean over seeds of a value, or of a paired difference.

    Let x[k, i] be the value of example i under seed k. Where every seed has a test set of its own, its mean varies by
    s2_k / n, and the mean over seeds by the mean of these over K; that noise is in the scatter of the seeds as well.
    Where K seeds share one test set, an example counts once: the variance is that of mean_k x[k, i] over examples,
    over n. Of this the interaction of seed and example, its mean square over K n, shows in the scatter of the seeds;
    the rest does not (a two-way layout with seeds and examples both random, Scheffé 1959, chapter 7).

    Args:
        parts: one array [seeds, examples] for each test set, of the seeds that share it; nan where an example has
            nothing to measure.

    Returns:
        None where a test set has fewer than two examples that every one of its seeds measured.
    """
    whole = [part[:, np.isfinite(part).all(0)].astype(np.float64) for part in parts]
    if not whole or min(part.shape[1] for part in whole) < 2:
        return None
    seeds = sum(len(part) for part in whole)
    weights = [(len(part) / seeds) ** 2 for part in whole]
    variances = [float(part.mean(0).var(ddof=1)) / part.shape[1] for part in whole]
    shared = [max(0.0, v - _interaction(part)) for v, part in zip(variances, whole, strict=True)]
    return Sampling(
        variance=sum(w * v for w, v in zip(weights, variances, strict=True)),
        shared=sum(w * v for w, v in zip(weights, shared, strict=True)),
        examples=sum(part.shape[1] for part in whole),
    )


def variance_of_mean(values: Array, noise: Sampling | None) -> float:
    """Variance of the mean over seeds of `values`, K of them: never below what the test sample alone produces.

    max(s2 / K + shared, variance), with s2 the variance over seeds. Without knowledge of the test sample it is s2 / K.
    """
    over_seeds = float(values.var(ddof=1)) / len(values)
    return over_seeds if noise is None else max(over_seeds + noise.shared, noise.variance)


def _interaction(part: Array) -> float:
    """Interaction of seed and example in the variance of the mean over seeds; with one seed it is all there is."""
    seeds, examples = part.shape
    if seeds == 1:
        return float(part.var(ddof=1) / examples)
    rest = part - part.mean(0) - part.mean(1, keepdims=True) + part.mean()
    return float(np.square(rest).sum() / ((seeds - 1) * (examples - 1)) / (seeds * examples))
