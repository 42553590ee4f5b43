"""Numbers over seeds and over test examples: intervals, tests, effect sizes, and what so few seeds could have shown.

Two kinds of noise count. *Over seeds*: a new seed is a new training run; there are few of them, hence t distributions
and never 1.96. *Over test examples*: thousands, and most often the same for all seeds. A difference is paired over both
(`headwise.lab.mixed`): seed k gives both arms the same data in the same order, and each test example is seen by both.
Welch's test, which ignores the pairing over seeds, stands beside it. What is said of the trained models alone, over
test examples, is marked as such: it says nothing about the next training run.

A value that is missing or not finite is `nan` here; it is left out together with its partner and counted by the caller,
never replaced. What cannot be computed is `None`. No test is made with fewer than three seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from headwise.lab.mcnemar import Discordant, is_share, mcnemar, sign_flip_p
from headwise.lab.mixed import ROUNDING, Estimate, Interval, estimate
from headwise.lab.power import noncentrality

Values = Sequence[float] | NDArray[np.floating]
Parts = Sequence[NDArray[np.floating]]
"""Values on the test examples: for each test set an array [seeds, examples], of the seeds that share it."""

CONFIDENCE = 0.95
MINIMUM_SEEDS = 3  # of a test: two differences that happen to be nearly equal make any p value
UNLIMITED = (-math.inf, math.inf)
BOOTSTRAP_MINIMUM = 10  # below this many observations a bootstrap interval is far too narrow (5 seeds: about 80 %)
# BCa needs some 10,000 resamples where skewness matters, which is in small samples; large ones get by with fewer.
RESAMPLES = (2_000, 9_999)
RESAMPLED_VALUES = 20_000_000  # drawn in all; about a second


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
        interval: of the difference, over seeds and test examples, within what the metric's limits allow.
        p_welch, p_paired: two-sided p values, uncorrected; from three seeds on.
        hedges_g: a - b in pooled standard deviations over seeds, corrected for small samples.
        smallest_detectable: difference that a paired test on n seeds finds with power 0.8 (see `smallest_detectable`).
        interval_examples: BCa interval of a - b over test examples, for the models as trained.
        interval_bootstrap: BCa interval over seeds, from 10 seeds on.
        identical: both arms gave the same value on every common seed.
        estimate: the difference with its variances, of which interval and p value are made.
        discordant: where each example is right or wrong, those on which the arms differ, for each seed.
        p_examples: exact p value of these over all seeds, for the models as trained.
        confidence: of `interval`; in a comparison that of the pair's step in Holm's procedure.
        p_holm: `p_paired` after Holm's correction over all pairs of the comparison.
        effect: the smallest difference of interest, where one was given.
        p_equivalent: p value of the difference being that large or larger, after Holm's correction over all pairs.
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
    identical: bool = False
    estimate: Estimate | None = None
    discordant: list[Discordant] | None = None
    p_examples: float | None = None
    confidence: float = CONFIDENCE
    p_holm: float | None = None
    effect: float | None = None
    p_equivalent: float | None = None


def mean_interval(
    values: Values, parts: Parts = (), limits: Interval = UNLIMITED, confidence: float = CONFIDENCE
) -> Mean:
    """Mean over the finite values with its interval, the latter within the limits of the metric.

    Without limits mean +- t * e, with e the standard error over seeds and test examples and t the number of them that
    `Estimate.critical` gives. Between two limits, taken as 0 and 1, it is Wilson's (1927) interval
    {p: |mean - p| <= t * sqrt(p (1 - p) / m)}, where m = mean (1 - mean) / e^2 is the number of coin flips that would
    have this standard error (Korn & Graubard 1998, with Wilson's interval in place of Clopper and Pearson's). Above one
    limit it is taken on the log scale.

    Args:
        values: one for each seed.
        parts: the same on each test example.
        limits: the smallest and the largest value that the metric can take.
    """
    x = _finite(values)
    if len(x) == 0:
        return Mean(math.nan, None, 0)
    mean = float(x.mean())
    if len(x) < 2:
        return Mean(mean, None, len(x))
    found = estimate(x, parts)
    error, t = found.error, found.critical(confidence)
    low, high = limits
    if math.isfinite(low) and math.isfinite(high):
        trials = found.examples or len(x)  # where no value differs from a limit, they alone are known
        ends = _wilson((mean - low) / (high - low), error / (high - low), t, trials)
        interval = (low + (high - low) * ends[0], low + (high - low) * ends[1])
    elif math.isfinite(low) and mean > low:
        factor = math.exp(min(t * error / (mean - low), 700.0))  # the largest power of e that is finite
        interval = (low + (mean - low) / factor, low + (mean - low) * factor)
    else:
        interval = (max(low, mean - t * error), min(high, mean + t * error))
    return Mean(mean, interval, len(x))


def welch_test(a: Values, b: Values, parts: tuple[Parts, Parts] = ((), ())) -> TTest:
    """Welch's t test of a against b (unequal variances, no pairing), two-sided; `parts` as in `mean_interval`."""
    x, y = _finite(a), _finite(b)
    if min(len(x), len(y)) < MINIMUM_SEEDS:
        return TTest(None, None, None)
    arms = [estimate(v, own, _size(x, y)) for v, own in zip((x, y), parts, strict=True)]
    squares = [arm.error**2 for arm in arms]
    if not any(squares):
        same = abs(arms[0].mean - arms[1].mean) <= ROUNDING * _size(x, y)
        return TTest(0.0, float(len(x) + len(y) - 2), 1.0) if same else TTest(None, None, None)
    df = sum(squares) ** 2 / sum(one**2 / arm.df for one, arm in zip(squares, arms, strict=True))
    statistic = (arms[0].mean - arms[1].mean) / math.sqrt(sum(squares))
    return TTest(statistic, df, 2 * float(stats.t.sf(abs(statistic), df)))


def hedges_g(a: Values, b: Values, parts: tuple[Parts, Parts] = ((), ())) -> float | None:
    """Hedges' g = J(df) * (mean a - mean b) / s_pooled with the exact J(df) = Γ(df/2) / (sqrt(df/2) Γ((df-1)/2)).

    J removes the upward bias of Cohen's d in small samples: 0.80 at 3 seeds an arm, 0.90 at 5 (Hedges 1981).
    `None` with fewer than two values an arm, or without variation in either. `parts` as in `mean_interval`.
    """
    x, y = _finite(a), _finite(b)
    df = len(x) + len(y) - 2
    if min(len(x), len(y)) < 2:
        return None
    arms = [estimate(v, own, _size(x, y)) for v, own in zip((x, y), parts, strict=True)]
    pooled = math.sqrt(sum((arm.seeds - 1) * arm.seeds * arm.error**2 for arm in arms) / df)
    if pooled == 0:
        return None
    correction = math.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / math.sqrt(df / 2)
    return correction * (arms[0].mean - arms[1].mean) / pooled


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


def smallest_detectable(found: Estimate) -> float | None:
    """The difference that a test on these seeds and examples shows with power 0.8, in units of the metric.

    The variance comes from the same few seeds, so with three of them this is an order of magnitude.
    """
    return None if found.seeds < 2 else noncentrality(found.df) * found.error


def compare_pair(
    a: str,
    b: str,
    values: tuple[Values, Values],
    tests: Sequence[Sequence[NDArray[np.floating]]] = (),
    limits: Interval = UNLIMITED,
    bootstrap: bool = True,
) -> Pair:
    """Every statistic of arm `a` minus arm `b`.

    Args:
        a, b: the arms' names.
        values: one value a seed for each arm, in the same order of seeds; nan where a seed has no result.
        tests: what the arms did on each test example: for each test set two arrays [seeds, examples], of the seeds that
            share it. Empty where that is not known; then the noise of the test sample is not either.
        limits: the smallest and the largest value that the metric can take.
        bootstrap: also resample the test examples, which takes a second where there are thousands.
    """
    x, y = _pairs(*values)
    ours, theirs = ([pair[side] for pair in tests] for side in (0, 1))
    gaps = [one - other for one, other in zip(ours, theirs, strict=True)]
    found = estimate(x - y, gaps, _size(x, y))
    identical = len(x) > 1 and bool(np.all(np.abs(x - y) <= ROUNDING * _size(x, y)))
    shares = is_share(tests)
    return Pair(
        a=a,
        b=b,
        n=len(x),
        difference=found.mean if len(x) else None,
        interval=within(found, CONFIDENCE, limits) if len(x) > 1 else None,
        p_welch=welch_test(x, y, (ours, theirs)).p,
        p_paired=None if len(x) < MINIMUM_SEEDS else 1.0 if identical else found.p(),
        hedges_g=hedges_g(x, y, (ours, theirs)),
        smallest_detectable=smallest_detectable(found),
        # An example counts once, however many seeds share it
        interval_examples=bootstrap_interval(np.concatenate([gap.mean(0) for gap in gaps]))
        if gaps and bootstrap
        else None,
        interval_bootstrap=bootstrap_interval(x - y),
        identical=identical,
        estimate=found if len(x) > 1 else None,
        discordant=[mcnemar(*seed) for pair in tests for seed in zip(*pair, strict=True)] if shares else None,
        p_examples=sign_flip_p([(one, other) for one, other in tests]) if shares else None,
    )


def within(found: Estimate, confidence: float, limits: Interval) -> Interval:
    """The interval of a difference, cut off where no difference can be; what is not possible needs no covering."""
    span = limits[1] - limits[0]
    low, high = found.interval(confidence)
    return max(low, -span), min(high, span)


def _wilson(mean: float, error: float, t: float, trials: float) -> Interval:
    """Wilson's interval of a share whose standard error is known; `trials` are counted where mean or error is at 0."""
    mean = min(max(mean, 0.0), 1.0)
    variance = mean * (1 - mean)
    if variance > 0 and error > 0:
        trials = variance / error**2
    centre, shrink = mean + t**2 / (2 * trials), 1 + t**2 / trials
    half = t * math.sqrt(variance / trials + t**2 / (4 * trials**2))
    return max(0.0, (centre - half) / shrink), min(1.0, (centre + half) / shrink)


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
