"""Looking at a comparison while it grows, without claiming more false differences than one look would.

Whoever tests after every further seed and stops at the first p value below 0.05 is wrong in far more than 5 of 100. So
each look spends a part of the 5 %. Lan and DeMets (1983) spend, until the share t of the planned seeds is there, on
either side of 0

    2 - 2 Phi(z / sqrt(t)),    z the normal quantile of 1 - alpha / 4

after O'Brien and Fleming (1979): next to nothing in the first looks, nearly all at the last, so a comparison that runs
to its end loses hardly any power. The boundary c_k of look k solves

    P(|Z_1| < c_1, ..., |Z_(k-1)| < c_(k-1), |Z_k| >= c_k) = spent(t_k) - spent(t_(k-1))

by the recursion of Armitage, McPherson and Rowe (1969) over S_k = Z_k sqrt(t_k), which has independent increments. With
few seeds a statistic is not normal; its p value is, turned into Z: a look rejects where p < 2 Phi(-c_k) (Jennison &
Turnbull 2000, section 3.6). As their variances are estimated, too, successive looks are less alike than their seeds
say: with 3 and 4 seeds Z correlates by 0.842, where sqrt(3 / 4) is 0.866 and sqrt(2 / 3) 0.816. So t counts degrees of
freedom, one less than the seeds. Test examples that all seeds share make looks more alike, which errs on the safe side.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

NODES = 96
FARTHEST = 9.0  # in standard deviations; beyond, no p value of a double is meant


def spent(time: float, alpha: float) -> float:
    """The part of a two-sided alpha spent until the share `time` of the planned seeds is there."""
    return float(4 * special.ndtr(special.ndtri(alpha / 4) / np.sqrt(min(time, 1.0))))


@cache
def boundaries(times: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """The boundary of |Z| at each look.

    Args:
        times: share of the planned seeds at each look, increasing, above 0.
        alpha: of all looks together, two-sided.
    """
    found: list[float] = []
    nodes, density = np.zeros(1), np.ones(1)  # where S stands after the last look, if none rejected, with its weight
    before, used = 0.0, 0.0
    for time in times:
        step, share = np.sqrt(time - before), spent(time, alpha) - used
        limit = FARTHEST * np.sqrt(time)

        def excess(
            bound: float,
            nodes: NDArray[np.float64] = nodes,
            density: NDArray[np.float64] = density,
            step: float = step,
            share: float = share,
        ) -> float:
            beyond = special.ndtr((-bound - nodes) / step) + special.ndtr((nodes - bound) / step)
            return float((beyond * density).sum()) - share

        bound = limit if excess(limit) >= 0 else float(optimize.brentq(excess, 0.0, limit, xtol=1e-10))
        found.append(bound / float(np.sqrt(time)))
        points, weights = np.polynomial.legendre.leggauss(NODES)
        points, weights = points * bound, weights * bound
        steps = (points[:, None] - nodes) / step
        density = weights * (np.exp(-(steps**2) / 2) * density).sum(1) / (step * np.sqrt(2 * np.pi))
        nodes, before, used = points, time, used + share
    return tuple(found)


def nominal(looks: Sequence[int], most: int, alpha: float) -> float:
    """The two-sided p value below which the last look rejects, at level alpha for all looks together.

    Args:
        looks: seeds at each look, increasing, from 2 on.
        most: seeds that there may be in the end.
    """
    times = tuple((seeds - 1) / (most - 1) for seeds in looks)
    return float(2 * special.ndtr(-boundaries(times, alpha)[-1]))
