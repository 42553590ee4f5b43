"""Several tests at once: Holm's correction of p values, and the levels at which intervals agree with it.

A family is all pairs of a comparison. Testing its hypotheses at Holm's levels keeps the chance of even one false claim
below the level of the whole family.
"""

from collections.abc import Callable, Sequence

ALPHA = 0.05

Level = Callable[[float], float]
"""From a share of `ALPHA` to the p value below which a test at that level rejects: the same number, but for tests that
are made several times on growing data (`headwise.lab.sequential`)."""


def once(alpha: float) -> float:
    """The level of a test that is made once."""
    return alpha


def levels(p_values: Sequence[float | None], level: Level = once, alpha: float = ALPHA) -> list[float]:
    """The level at which Holm's (1979) procedure tests each of m hypotheses.

    The k-th smallest p value meets level(alpha / (m - k + 1)), as long as those before it were rejected; the others all
    meet the first at which none was. So p < level exactly where Holm rejects, and an interval of confidence 1 - level
    leaves out the null exactly there, too. `None` (no test was made) does not count and gets the level of all m.
    """
    made = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    found = [level(alpha / max(len(made), 1))] * len(p_values)
    for rank, (p, _) in enumerate(made):
        own = level(alpha / (len(made) - rank))
        for _, later in made[rank:]:
            found[later] = own
        if p >= own:
            break
    return found


def holm(p_values: Sequence[float | None], level: Level = once, alpha: float = ALPHA) -> list[float | None]:
    """Holm's adjusted p values, in the order given: below alpha exactly where he rejects. `None` stays."""
    made = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(made):
        largest = max(largest, min(1.0, p * alpha / level(alpha / (len(made) - rank))))
        adjusted[index] = largest
    return adjusted
