"""Numbers over seeds and over test examples: intervals, tests, effect sizes, and what so few seeds could have shown.

Two kinds of noise are kept apart. *Over seeds*: a new seed is a new training run, so these are the numbers that speak
about an arm; there are few of them, hence t distributions and never 1.96. *Over test examples*: thousands, but of
models already trained, so an interval over examples says nothing about the next training run.

Seeds are paired: seed k gives both arms the same data in the same order, so the paired t test decides and Welch's test
(which ignores the pairing) stands beside it. A value that is missing or not finite is `nan` here; it is left out
together with its partner and counted by the caller, never replaced. What cannot be computed is `None`.

A few seeds can agree by chance far better than their test examples allow, most of all where they share them. So the
variance of a mean is never counted below what the test sample alone produces (`headwise.lab.sampling`), and no test is
made with fewer than three seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from headwise.lab.sampling import Sampling, sampling, variance_of_mean

Values = Sequence[float] | NDArray[np.floating]
Interval = tuple[float, float]

CONFIDENCE = 0.95
ALPHA = 0.05
POWER = 0.8
MINIMUM_SEEDS = 3  # of a test: two differences that happen to be nearly equal make any p value
UNLIMITED = (-math.inf, math.inf)
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
    """A t test. `p` is `None` where none is made: fewer than three values, or a difference without variation."""

    statistic: float | None
    df: float | None
    p: float | None


@dataclass(frozen=True)
class Pair:
    """Arm `a` minus arm `b` over their common seeds.

    Attributes:
        n: seeds on which both arms have a value.
        difference: mean of a - b over those seeds, in units of the metric.
        interval: its paired t interval over seeds, within what the metric's limits allow.
        p_welch, p_paired: two-sided p values, uncorrected; from three seeds on.
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


def mean_interval(
    values: Values, noise: Sampling | None = None, limits: Interval = UNLIMITED, confidence: float = CONFIDENCE
) -> Mean:
    """Mean and t interval over the finite values, the latter within the limits of the metric.

    Without limits mean +- t(n-1) * e, with e the standard error (`variance_of_mean`). Between two limits, taken as 0
    and 1, it is Wilson's (1927) interval {p: |mean - p| <= t(n-1) * sqrt(p (1 - p) / m)}, where
    m = mean (1 - mean) / e^2 is the number of coin flips that would have this standard error (Korn & Graubard 1998,
    with Wilson's interval in place of Clopper and Pearson's). Above one limit it is taken on the log scale.

    Args:
        values: one for each seed.
        noise: of the test sample in their mean.
        limits: the smallest and the largest value that the metric can take.
    """
    x = _finite(values)
    if len(x) == 0:
        return Mean(math.nan, None, 0)
    mean = float(x.mean())
    if len(x) < 2:
        return Mean(mean, None, len(x))
    error = math.sqrt(variance_of_mean(x, noise))
    t = float(stats.t.ppf((1 + confidence) / 2, len(x) - 1))
    low, high = limits
    if math.isfinite(low) and math.isfinite(high):
        trials = noise.examples if noise else len(x)  # where no value differs from a limit, they alone are known
        ends = _wilson((mean - low) / (high - low), error / (high - low), t, trials)
        interval = (low + (high - low) * ends[0], low + (high - low) * ends[1])
    elif math.isfinite(low) and mean > low:
        factor = math.exp(min(t * error / (mean - low), 700.0))  # the largest power of e that is finite
        interval = (low + (mean - low) / factor, low + (mean - low) * factor)
    else:
        interval = (max(low, mean - t * error), min(high, mean + t * error))
    return Mean(mean, interval, len(x))


def paired_test(a: Values, b: Values, noise: Sampling | None = None) -> TTest:
    """Student's paired t test of a - b, two-sided; `noise` is that of the test sample in the mean difference.

    All differences zero: p = 1. All equal but not zero, and no noise known: no test.
    """
    x, y = _pairs(a, b)
    if len(x) < MINIMUM_SEEDS:
        return TTest(None, None, None)
    difference, df = float((x - y).mean()), len(x) - 1
    error = _error(x - y, noise, _size(x, y))
    if error == 0:
        return _without_variation(x, y, df)
    return TTest(difference / error, float(df), 2 * float(stats.t.sf(abs(difference) / error, df)))


def welch_test(a: Values, b: Values, noise: tuple[Sampling | None, Sampling | None] = (None, None)) -> TTest:
    """Welch's t test of a against b (unequal variances, no pairing), two-sided; `noise` in the mean of each."""
    x, y = _finite(a), _finite(b)
    if min(len(x), len(y)) < MINIMUM_SEEDS:
        return TTest(None, None, None)
    squares = [_error(v, own, _size(x, y)) ** 2 for v, own in zip((x, y), noise, strict=True)]
    if not any(squares):
        return _without_variation(x, y, df=len(x) + len(y) - 2)
    df = sum(squares) ** 2 / sum(one**2 / (len(v) - 1) for one, v in zip(squares, (x, y), strict=True))
    statistic = float(x.mean() - y.mean()) / math.sqrt(sum(squares))
    return TTest(statistic, df, 2 * float(stats.t.sf(abs(statistic), df)))


def hedges_g(a: Values, b: Values, noise: tuple[Sampling | None, Sampling | None] = (None, None)) -> float | None:
    """Hedges' g = J(df) * (mean a - mean b) / s_pooled with the exact J(df) = Γ(df/2) / (sqrt(df/2) Γ((df-1)/2)).

    J removes the upward bias of Cohen's d in small samples: 0.80 at 3 seeds an arm, 0.90 at 5 (Hedges 1981).
    `None` with fewer than two values an arm, or without variation in either. `noise` is that in the mean of each.
    """
    x, y = _finite(a), _finite(b)
    df = len(x) + len(y) - 2
    if min(len(x), len(y)) < 2:
        return None
    squares = [(len(v) - 1) * len(v) * _error(v, own, _size(x, y)) ** 2 for v, own in zip((x, y), noise, strict=True)]
    pooled = math.sqrt(sum(squares) / df)
    if pooled == 0:
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


def smallest_detectable(
    a: Values, b: Values, noise: Sampling | None = None, power: float = POWER, alpha: float = ALPHA
) -> float | None:
    """`detectable_effect` for these seeds, in units of the metric: times the standard deviation of a - b.

    The standard deviation comes from the same few seeds, so with three of them this is an order of magnitude; it is
    never below what the noise of the test sample alone makes of it.
    """
    x, y = _pairs(a, b)
    effect = detectable_effect(len(x), power, alpha)
    return None if effect is None else effect * _error(x - y, noise, _size(x, y)) * math.sqrt(len(x))


def compare_pair(
    a: str,
    b: str,
    values: tuple[Values, Values],
    tests: Sequence[Sequence[NDArray[np.floating]]] = (),
    limits: Interval = UNLIMITED,
) -> Pair:
    """Every statistic of arm `a` minus arm `b`.

    Args:
        a, b: the arms' names.
        values: one value a seed for each arm, in the same order of seeds; nan where a seed has no result.
        tests: what the arms did on each test example: for each test set two arrays [seeds, examples], of the seeds that
            share it. Empty where that is not known; then the noise of the test sample is not either.
        limits: the smallest and the largest value that the metric can take.
    """
    x, y = _pairs(*values)
    ours, theirs = ([pair[side] for pair in tests] for side in (0, 1))
    gaps = [one - other for one, other in zip(ours, theirs, strict=True)]
    noise, own = sampling(gaps), (sampling(ours), sampling(theirs))
    span = limits[1] - limits[0]
    difference = mean_interval(x - y, noise)
    interval = difference.interval
    return Pair(
        a=a,
        b=b,
        n=len(x),
        difference=difference.mean if len(x) else None,
        # Cut off where no difference can be; what is not possible needs no covering
        interval=None if interval is None else (max(interval[0], -span), min(interval[1], span)),
        p_welch=welch_test(x, y, own).p,
        p_paired=paired_test(x, y, noise).p,
        hedges_g=hedges_g(x, y, own),
        smallest_detectable=smallest_detectable(x, y, noise),
        # An example counts once, however many seeds share it
        interval_examples=bootstrap_interval(np.concatenate([gap.mean(0) for gap in gaps])) if gaps else None,
        interval_bootstrap=bootstrap_interval(x - y),
        identical=len(x) > 1 and bool(np.all(np.abs(x - y) <= ROUNDING * _size(x, y))),
    )


def _wilson(mean: float, error: float, t: float, trials: float) -> Interval:
    """Wilson's interval of a share whose standard error is known; `trials` are counted where mean or error is at 0."""
    mean = min(max(mean, 0.0), 1.0)
    variance = mean * (1 - mean)
    if variance > 0 and error > 0:
        trials = variance / error**2
    centre, shrink = mean + t**2 / (2 * trials), 1 + t**2 / trials
    half = t * math.sqrt(variance / trials + t**2 / (4 * trials**2))
    return max(0.0, (centre - half) / shrink), min(1.0, (centre + half) / shrink)


def _error(values: NDArray[np.float64], noise: Sampling | None, size: float) -> float:
    """Standard error of the mean; exactly 0 where all variation is rounding of numbers of this size."""
    if len(values) < 2:
        return 0.0
    error = math.sqrt(variance_of_mean(values, noise))
    return error if error * math.sqrt(len(values)) > ROUNDING * size else 0.0


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
