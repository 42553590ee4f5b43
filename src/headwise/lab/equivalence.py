"""Equivalence: showing that a difference is smaller than one that would matter.

A difference that is not significant is not shown to be small. To show that, two one-sided tests (Schuirmann 1987)
reject "it is d or more" and "it is -d or less"; both must, so the larger p value counts. At level alpha this is the
interval of confidence 1 - 2 alpha lying within (-d, d).
"""

from headwise.errors import InputError
from headwise.lab.mixed import Estimate


def equivalence_p(estimate: Estimate, effect: float) -> float | None:
    """p value of the true mean being `effect` or more away from 0; None where no test is possible.

    Args:
        effect: the smallest difference of interest, above 0, in units of the metric.
    """
    tails = []
    for far in (effect, -effect):
        p = estimate.p(far)
        if p is None:
            return None
        inside = (far - estimate.mean) * far > 0
        tails.append(p / 2 if inside else 1 - p / 2)
    return max(tails)


def check_effect(effect: float | None) -> None:
    """Refuse a smallest difference of interest that is none.

    Raises:
        InputError: it is not above 0.
    """
    if effect is not None and effect <= 0:
        raise InputError(f"effect={effect:g}: the smallest difference of interest, above 0, in units of the metric")
