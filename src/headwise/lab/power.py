"""What a test could have shown: the effect that it finds with a given power."""

import math

from scipy import optimize, stats

POWER = 0.8


def noncentrality(df: float, power: float = POWER, alpha: float = 0.05) -> float:
    """The effect, in standard errors, that a two-sided t test with these degrees of freedom finds with this power.

    Solves P(|T| > t_crit) = power for T noncentral t.
    """
    if df > 1e6:
        return float(stats.norm.isf(alpha / 2) + stats.norm.ppf(power))
    critical = float(stats.t.ppf(1 - alpha / 2, df))

    def shortfall(effect: float) -> float:
        above = float(stats.nct.sf(critical, df, effect))
        below = float(stats.nct.cdf(-critical, df, effect))
        return above + (below if math.isfinite(below) else 0.0) - power

    # With one degree of freedom the noncentrality needed is near 3 critical values; with many near t_crit + 0.84.
    return float(optimize.brentq(shortfall, 0.0, 5 * critical + 5))


def detectable_effect(n: int, power: float = POWER, alpha: float = 0.05) -> float | None:
    """The effect, in standard deviations of the paired differences, that n pairs show with this power (two-sided).

    n = 2, 3, 5, 10 give 11.55, 3.26, 1.68, 1.00 standard deviations; n < 2: `None`, no test exists.
    """
    return None if n < 2 else noncentrality(n - 1, power, alpha) / math.sqrt(n)
