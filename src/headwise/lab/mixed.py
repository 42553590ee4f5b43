"""Differences paired over seeds and over test examples: one mean with the variances of both.

Let d[s, i] be the difference of two arms on test example i under seed s. In the two-way layout with both factors random
(Scheffé 1959, chapter 7)

    d[s, i] = mu + seed[s] + example[i] + interaction[s, i]

and the mean over S seeds and n examples has the variance scatter + shared, where

    scatter = var(seed) / S + var(interaction) / (S n)     what the means of the seeds vary by
    shared  = var(example) / n                             what they have in common, since they share their test set

Their scatter shows the first with S - 1 degrees of freedom and nothing of the second, which comes from the mean squares
of examples and of the interaction. Where each seed has a test set of its own (examples nested in seeds) `shared` is 0,
all variance is in the scatter, and what follows is Student's paired t test over seeds.

Legend: S seeds, n test examples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

Array = NDArray[np.float64]
Interval = tuple[float, float]

# Spread below this share of the values' size is rounding, not variation (float32 metrics carry about 1e-7).
ROUNDING = 1e-9
# Between Behrens and Fisher's test (0), which with 3 seeds rejects only 2.4 % of true nulls at the 5 % level where
# both variances are of a size, and the second-order matching prior (1), which rejects up to 6.4 %; here 4.0 to 5.4 %.
MATCHING = 0.4
# A variance of the examples that this test does not show is mostly chance; counted, it would leave too few rejections.
SHOWN = 0.1
NODES = 80


@dataclass(frozen=True)
class Components:
    """Variances of a difference: between seeds, between test examples, and of seed and example together.

    Where each seed has its own test examples, `example` is 0 and `interaction` the variance within a seed. None of them
    is below 0; `seed` rests on `seeds` values alone.
    """

    seed: float
    example: float
    interaction: float

    def variance(self, seeds: int, examples: float) -> tuple[float, float]:
        """(scatter, shared) of the mean over so many seeds and test examples."""
        return self.seed / seeds + self.interaction / (seeds * examples), self.example / examples


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with the variance of its two sources.

    Attributes:
        mean: over the seeds.
        seeds: S.
        examples: distinct test examples; 0 where they are not known.
        scatter: variance of the mean as the seeds show it, with S - 1 degrees of freedom.
        shared: variance that the seeds have in common, as they share test examples.
        shared_df: degrees of freedom of `shared`.
        examples_per_seed: test examples that each seed saw, on average over test sets.
        components: of which that is made; None where the values on the test examples are not known.
    """

    mean: float
    seeds: int
    examples: int = 0
    scatter: float = 0.0
    shared: float = 0.0
    shared_df: float = math.inf
    examples_per_seed: float = 0.0
    components: Components | None = None

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Estimate":
        """The estimate that JSON holds, where infinite degrees of freedom are null.

        Raises:
            ValueError: a variance below 0.
        """
        own = {field.name: plain[field.name] for field in fields(cls)}
        parts = own["components"]
        if parts is not None:
            own["components"] = Components(**{field.name: parts[field.name] for field in fields(Components)})
        own["shared_df"] = math.inf if own["shared_df"] is None else own["shared_df"]
        if min(own["scatter"], own["shared"], own["shared_df"], *(parts or {}).values()) < 0:
            raise ValueError("a variance below 0")
        return cls(**own)

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(self.scatter + self.shared)

    @property
    def df(self) -> float:
        """Satterthwaite's (1946) degrees of freedom of the variance, for planning; tests integrate instead."""
        if self.error == 0:
            return float(self.seeds - 1)
        total, own = self.scatter + self.shared, self.scatter**2 / (self.seeds - 1)
        return total**2 / (own + self.shared**2 / self.shared_df)

    def p(self, null: float = 0.0) -> float | None:
        """Two-sided p value of the mean being `null`; None without variation, and with fewer than two seeds."""
        if self.seeds < 2 or self.error == 0:
            return None
        return float(p_value(self.mean - null, self.scatter, self.seeds, self.shared, self.shared_df))

    def critical(self, confidence: float) -> float:
        """How many standard errors the interval of this confidence extends to either side."""
        # Never wider than Student's with the fewest degrees of freedom of the two
        widest = float(stats.t.ppf((1 + confidence) / 2, min(self.seeds - 1, self.shared_df)))
        if self.shared == 0 or self.error == 0:
            return widest
        one = replace(self, scatter=self.scatter / self.error**2, shared=self.shared / self.error**2)

        def excess(errors: float) -> float:
            return float(p_value(errors, one.scatter, self.seeds, one.shared, self.shared_df)) - (1 - confidence)

        return float(optimize.brentq(excess, 0.0, 1.01 * widest))

    def interval(self, confidence: float) -> Interval:
        """The interval of this confidence around the mean; needs two seeds."""
        half = self.critical(confidence) * self.error
        return self.mean - half, self.mean + half


def p_value(
    mean: ArrayLike, scatter: ArrayLike, seeds: int, shared: ArrayLike = 0.0, shared_df: ArrayLike = math.inf
) -> Array:
    """Two-sided p value of a mean of 0 whose variance is the sum of two, one of them known from few seeds only.

    Without `shared` this is Student's test. Else P(|Z| > |mean| / sqrt(scatter' + shared)) is averaged over what the
    true scatter' may be: scatter (S - 1) / x with x chi square, in Behrens and Fisher's test with S - 1 degrees of
    freedom. The prior that makes such a test reject true nulls at its level to second order (Ghosh & Kim 2001) gives a
    mixture of that with S + 1 degrees of freedom; `MATCHING` is how much of this prior is taken.

    Args:
        mean, scatter, shared, shared_df: arrays that broadcast, as in `Estimate`; not both variances 0.
        seeds: S, at least 2.
    """
    mean, scatter, shared, shared_df = np.broadcast_arrays(np.abs(mean), scatter, shared, shared_df)
    df, total = seeds - 1, np.asarray(scatter + shared, dtype=np.float64)
    student = 2 * special.stdtr(df, -mean / np.sqrt(total))
    if not np.any(shared):
        return np.asarray(student)
    share = shared / total
    # `shared` comes from many examples, and its own uncertainty counts as far as it is what the variance consists of
    normal_df = np.minimum(shared_df / np.maximum(share, 1e-6) ** 2, 1e9)[..., None]
    tails = []
    for degrees in (df, df + 2):
        x, weight = _chi_square(degrees)  # [NODES]
        variance = scatter[..., None] * df / x + shared[..., None]
        tails.append((2 * special.stdtr(normal_df, -mean[..., None] / np.sqrt(variance)) * weight).sum(-1))
    matching = MATCHING * shared / (scatter + MATCHING * shared)
    mixture: Array = np.where(share > 0, (1 - matching) * tails[0] + matching * tails[1], student)
    return mixture


def estimate(values: Array, parts: Sequence[NDArray[np.floating]] = (), size: float | None = None) -> Estimate:
    """The mean of one value a seed with its variance.

    Args:
        values: of the seeds, [S], finite: each a mean over its test examples.
        parts: one array [seeds, examples] for each test set, of the seeds that share it; nan where an example has
            nothing to measure, which leaves it out for all of them. Empty where that is not known: then all variance is
            in the scatter of the seeds.
        size: of what the values are differences of; less than `ROUNDING` of it is no variation. Default their own.
    """
    seeds = len(values)
    mean = float(values.mean()) if seeds else math.nan
    whole = [part[:, np.isfinite(part).all(0)].astype(np.float64) for part in parts]
    if not whole or min(part.shape[1] for part in whole) < 2:
        whole = []
    examples = sum(part.shape[1] for part in whole)
    if seeds < 2:
        return Estimate(mean, seeds, examples)
    scatter = float(values.var(ddof=1)) / seeds
    shared, df = _shared(whole)
    size = float(np.abs(values).max()) if size is None else size
    if math.sqrt((scatter + shared) * seeds) <= ROUNDING * size:
        return Estimate(mean, seeds, examples)
    each = float(np.mean([part.shape[1] for part in whole])) if whole else 0.0
    found = _components(scatter, whole, each) if whole else None
    return Estimate(mean, seeds, examples, scatter, shared, df, each, found)


def _shared(parts: Sequence[Array]) -> tuple[float, float]:
    """Variance of the mean that seeds have in common, and its degrees of freedom, over all test sets."""
    seeds = sum(len(part) for part in parts)
    total = spread = 0.0
    for part in parts:
        own, count = part.shape
        if own > 1 and count > 1:
            of_examples, of_both = _mean_squares(part)
            df = (count - 1, (own - 1) * (count - 1))
            shown = of_examples > of_both * float(special.fdtri(*df, 1 - SHOWN))
            variance = (of_examples - of_both) / (own * count) if shown else 0.0
            # Satterthwaite's, of the difference of two mean squares
            unsure = (of_examples**2 / df[0] + of_both**2 / df[1]) / (own * count) ** 2
            total += (own / seeds) ** 2 * variance
            spread += (own / seeds) ** 4 * unsure
    return total, total**2 / spread if total else math.inf


def _components(scatter: float, parts: Sequence[Array], count: float) -> Components:
    """Variance components, averaged over test sets by their seeds."""
    seeds = sum(len(part) for part in parts)
    example = interaction = 0.0
    for part in parts:
        own = len(part)
        of_examples, of_both = _mean_squares(part)
        example += own / seeds * max(0.0, of_examples - of_both) / own
        interaction += own / seeds * of_both
    return Components(max(0.0, scatter * seeds - interaction / count), example, interaction)


def _mean_squares(part: Array) -> tuple[float, float]:
    """Mean squares of examples and of the interaction; with one seed both are the variance over its examples."""
    seeds, examples = part.shape
    of_examples = seeds * float(part.mean(0).var(ddof=1))
    if seeds == 1:
        return of_examples, of_examples
    rest = part - part.mean(0) - part.mean(1, keepdims=True) + part.mean()
    return of_examples, float(np.square(rest).sum()) / ((seeds - 1) * (examples - 1))


@cache
def _chi_square(df: int) -> tuple[Array, Array]:
    """Nodes and weights, [NODES] each, of a mean over chi square, by Gauss and Legendre in its square root."""
    centre = math.sqrt(df)
    low, high = max(0.0, centre - 8), centre + 8
    node, weight = np.polynomial.legendre.leggauss(NODES)
    root = (high - low) / 2 * node + (high + low) / 2
    return root**2, weight * (high - low) * root * stats.chi2.pdf(root**2, df)
