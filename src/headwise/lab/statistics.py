"""Numbers over seeds and over test examples: intervals, tests, effect sizes, and what so few seeds could have shown.

Two kinds of noise are kept apart. *Over seeds*: a new seed is a new training run, so these are the numbers that speak
about an arm; there are few of them, hence t distributions and never 1.96. *Over test examples*: thousands, but of
models already trained, so an interval over examples says nothing about the next training run.

Seeds are paired: seed k gives both arms the same data in the same order, so the paired t test decides and Welch's test
(which ignores the pairing) stands beside it. A value that is missing or not finite is `nan` here; it is left out
together with its partner and counted by the caller, never replaced. What cannot be computed is `None`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Values = Sequence[float] | NDArray[np.floating]
Interval = tuple[float, float]

CONFIDENCE = 0.95
ALPHA = 0.05
POWER = 0.8
BOOTSTRAP_MINIMUM = 10  # below this many observations a bootstrap interval is far too narrow (5 seeds: about 80 %)
# BCa needs some 10,000 resamples where skewness matters, which is in small samples; large ones get by with fewer.
RESAMPLES = (2_000, 9_999)
RESAMPLED_VALUES = 20_000_000  # drawn in all; about a second
# Spread below this share of the values' size is rounding, not variation (float32 metrics carry about 1e-7).
ROUNDING = 1e-9


@dataclass(frozen=True)
class Mean:
    """The mean over `n` finite values, with its t interval (`None` for n < 2: one seed has no interval)."""

    mean: float
    interval: Interval | None
    n: int


@dataclass(frozen=True)
class TTest:
    """A t test. `p` is `None` where no test is possible: fewer than two values, or a difference without variation."""

    statistic: float | None
    df: float | None
    p: float | None


@dataclass(frozen=True)
class Pair:
    """Arm `a` minus arm `b` over their common seeds.

    Attributes:
        n: seeds on which both arms have a value.
        difference: mean of a - b over those seeds, in units of the metric.
        interval: its paired t interval over seeds.
        p_welch, p_paired: two-sided p values, uncorrected.
        p_holm: `p_paired` after Holm's correction over all pairs of the comparison; set by `with_holm`.
        hedges_g: a - b in pooled standard deviations over seeds, corrected for small samples.
        smallest_detectable: difference that a paired test on n seeds finds with power 0.8 (see `smallest_detectable`).
        interval_examples: BCa interval of a - b over test examples, for the models as trained.
        interval_bootstrap: BCa interval over seeds, from 10 seeds on.
        identical: both arms gave the same value on every common seed.
    """

    a: str
    b: str
    n: int
    difference: float | None
    interval: Interval | None
    p_welch: float | None
    p_paired: float | None
    hedges_g: float | None
    smallest_detectable: float | None
    interval_examples: Interval | None = None
    interval_bootstrap: Interval | None = None
    p_holm: float | None = None
    identical: bool = False


def mean_interval(values: Values, confidence: float = CONFIDENCE) -> Mean:
    """Mean and t interval, mean +- t(n-1) * s / sqrt(n), over the finite values."""
    x = _finite(values)
    if len(x) == 0:
        return Mean(math.nan, None, 0)
    mean = float(x.mean())
    if len(x) < 2:
        return Mean(mean, None, len(x))
    half = float(stats.t.ppf((1 + confidence) / 2, len(x) - 1)) * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Mean(mean, (mean - half, mean + half), len(x))


def paired_test(a: Values, b: Values) -> TTest:
    """Student's paired t test of a - b, two-sided. All differences zero: p = 1; all equal but not zero: no test."""
    x, y = _pairs(a, b)
    if len(x) < 2:
        return TTest(None, None, None)
    if _constant(x - y, scale=_size(x, y)):
        return _without_variation(x, y, df=len(x) - 1)
    result = stats.ttest_rel(x, y)
    return TTest(float(result.statistic), float(result.df), float(result.pvalue))


def welch_test(a: Values, b: Values) -> TTest:
    """Welch's t test of a against b (unequal variances, no pairing), two-sided."""
    x, y = _finite(a), _finite(b)
    if min(len(x), len(y)) < 2:
        return TTest(None, None, None)
    if _constant(x, _size(x, y)) and _constant(y, _size(x, y)):
        return _without_variation(x, y, df=len(x) + len(y) - 2)
    result = stats.ttest_ind(x, y, equal_var=False)
    return TTest(float(result.statistic), float(result.df), float(result.pvalue))


def hedges_g(a: Values, b: Values) -> float | None:
    """Hedges' g = J(df) * (mean a - mean b) / s_pooled with the exact J(df) = Γ(df/2) / (sqrt(df/2) Γ((df-1)/2)).

    J removes the upward bias of Cohen's d in small samples: 0.80 at 3 seeds an arm, 0.90 at 5 (Hedges 1981).
    `None` with fewer than two values an arm, or without variation in either.
    """
    x, y = _finite(a), _finite(b)
    df = len(x) + len(y) - 2
    if min(len(x), len(y)) < 2:
        return None
    pooled = math.sqrt(((len(x) - 1) * x.var(ddof=1) + (len(y) - 1) * y.var(ddof=1)) / df)
    if pooled <= ROUNDING * _size(x, y):
        return None
    correction = math.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / math.sqrt(df / 2)
    return correction * float(x.mean() - y.mean()) / pooled


def bootstrap_interval(values: Values, seed: int = 0, confidence: float = CONFIDENCE) -> Interval | None:
    """BCa bootstrap interval of a mean (Efron 1987): over paired per-example differences, or over seeds from 10 on.

    Returns `None` for fewer than ten finite values, where a bootstrap promises more than it knows.
    """
    x = _finite(values)
    if len(x) < BOOTSTRAP_MINIMUM:
        return None
    if _constant(x, _size(x)):
        return float(x.mean()), float(x.mean())
    result = stats.bootstrap(
        (x,),
        np.mean,
        n_resamples=min(max(RESAMPLED_VALUES // len(x), RESAMPLES[0]), RESAMPLES[1]),
        # 2 million numbers at a time: the resamples of 5000 examples would otherwise fill 160 MB.
        batch=max(1, 2_000_000 // len(x)),
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) adjusted p values, in the order given. `None` (no test was made) stays and does not count."""
    made = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - rank) * p))
        adjusted[index] = largest
    return adjusted


def detectable_effect(n: int, power: float = POWER, alpha: float = ALPHA) -> float | None:
    """The effect, in standard deviations of the paired differences, that n pairs show with this power (two-sided).

    Solves P(|T| > t_crit) = power for T noncentral t with n - 1 degrees of freedom and noncentrality d * sqrt(n).
    n = 2, 3, 5, 10 give 11.55, 3.26, 1.68, 1.00 standard deviations; n < 2: `None`, no test exists.
    """
    if n < 2:
        return None
    df, critical = n - 1, float(stats.t.ppf(1 - alpha / 2, n - 1))

    def shortfall(noncentrality: float) -> float:
        above = float(stats.nct.sf(critical, df, noncentrality))
        below = float(stats.nct.cdf(-critical, df, noncentrality))
        return above + (below if math.isfinite(below) else 0.0) - power

    # With one degree of freedom the noncentrality needed is near 3 critical values; with many near t_crit + 0.84.
    return float(optimize.brentq(shortfall, 0.0, 5 * critical + 5)) / math.sqrt(n)


def smallest_detectable(a: Values, b: Values, power: float = POWER, alpha: float = ALPHA) -> float | None:
    """`detectable_effect` for these seeds, in units of the metric: times the standard deviation of a - b.

    The standard deviation comes from the same few seeds, so with three of them this is an order of magnitude.
    """
    x, y = _pairs(a, b)
    effect = detectable_effect(len(x), power, alpha)
    if effect is None:
        return None
    differences = x - y
    return 0.0 if _constant(differences, _size(x, y)) else effect * float(differences.std(ddof=1))


def compare_pair(a: str, b: str, values: tuple[Values, Values], examples: Values | None = None) -> Pair:
    """Every statistic of arm `a` minus arm `b`.

    Args:
        a, b: the arms' names.
        values: one value a seed for each arm, in the same order of seeds; nan where a seed has no result.
        examples: a - b for each test example (the mean over seeds where the seeds share their test examples).
    """
    x, y = _pairs(*values)
    difference = mean_interval(x - y)
    return Pair(
        a=a,
        b=b,
        n=len(x),
        difference=difference.mean if len(x) else None,
        interval=difference.interval,
        p_welch=welch_test(x, y).p,
        p_paired=paired_test(x, y).p,
        hedges_g=hedges_g(x, y),
        smallest_detectable=smallest_detectable(x, y),
        interval_examples=None if examples is None else bootstrap_interval(examples),
        interval_bootstrap=bootstrap_interval(x - y),
        identical=len(x) > 1 and bool(np.all(np.abs(x - y) <= ROUNDING * _size(x, y))),
    )


def _finite(values: Values) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64)
    return x[np.isfinite(x)]


def _pairs(a: Values, b: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        raise ValueError(f"paired values need one partner each: {len(x)} against {len(y)}")
    both = np.isfinite(x) & np.isfinite(y)
    return x[both], y[both]


def _size(*arrays: NDArray[np.float64]) -> float:
    return max((float(np.abs(x).max()) for x in arrays if len(x)), default=0.0)


def _constant(x: NDArray[np.float64], scale: float) -> bool:
    return float(np.ptp(x)) <= ROUNDING * scale


def _without_variation(x: NDArray[np.float64], y: NDArray[np.float64], df: int) -> TTest:
    # A t test would divide by zero: equal values agree perfectly, a constant gap is outside what t can judge.
    same = abs(float(x.mean() - y.mean())) <= ROUNDING * _size(x, y)
    return TTest(0.0, float(df), 1.0) if same else TTest(None, None, None)
