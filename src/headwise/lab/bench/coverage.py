"""Whether the statistics of a comparison keep what they promise, by simulating comparisons whose truth is known.

The rows are shares of simulated comparisons in per cent: how often a 95 % interval holds the true difference (the rest
is how often a true null is rejected), how often equivalence is claimed of arms that differ by just what matters, and
how often a comparison with `seeds=auto` of arms that are alike ends in a difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headwise.lab.equivalence import equivalence_p
from headwise.lab.families import ALPHA
from headwise.lab.mixed import Components, Estimate, estimate, p_value
from headwise.lab.sequential import nominal
from headwise.lab.statistics import MINIMUM_SEEDS

EXAMPLES = 100
COMPARISONS = 2000
# In units of the variance between test examples over their number: what the mean of all seeds varies by for each cause
REGIMES = {
    "seeds": (20.0, 1.0, 1.0),
    "examples": (0.001, 1.0, 0.001),
    "both": (1.0, 1.0, 1.0),
    "neither": (0.0, 0.0, 1.0),
}
SEEDS = (3, 5, 10)


@dataclass(frozen=True)
class World:
    """Comparisons of one kind.

    Attributes:
        regime: key of `REGIMES`: which variance is large.
        seeds: of each comparison.
        nested: each seed has a test set of its own; else all share one.
    """

    regime: str
    seeds: int
    nested: bool = False

    @property
    def components(self) -> Components:
        """Variances such that seeds, examples and both together move the mean by what the regime says."""
        seed, example, both = REGIMES[self.regime]
        return Components(seed * self.seeds / EXAMPLES, example, both * self.seeds)

    def estimates(self, comparisons: int = COMPARISONS) -> Iterator[Estimate]:
        """Estimates of a true difference of 0, always the same ones."""
        rng = np.random.default_rng([list(REGIMES).index(self.regime), self.seeds, self.nested])
        for _ in range(comparisons):
            values = differences(self.components, self.seeds, EXAMPLES, self.nested, rng)
            yield estimate(values.mean(1), list(values[:, None]) if self.nested else [values])


def differences(
    variances: Components, seeds: int, examples: int, nested: bool, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draws d[s, i] with mean 0, [seeds, examples]."""
    by_seed = rng.normal(0, variances.seed**0.5, (seeds, 1))
    by_example = rng.normal(0, variances.example**0.5, (seeds if nested else 1, examples))
    return by_seed + by_example + rng.normal(0, variances.interaction**0.5, (seeds, examples))


def covered(world: World, comparisons: int = COMPARISONS) -> float:
    """The share of intervals that hold the true difference; 1 less it is the share of true nulls rejected."""
    found = list(world.estimates(comparisons))
    mean, scatter, shared, df = np.array([(one.mean, one.scatter, one.shared, one.shared_df) for one in found]).T
    return float(np.mean(p_value(mean, scatter, world.seeds, shared, df) >= ALPHA))


def equivalent(world: World, comparisons: int = COMPARISONS) -> float:
    """The share of comparisons that call arms equivalent which differ by just what matters, 6 true standard errors."""
    effect = 6 * sum(world.components.variance(world.seeds, EXAMPLES)) ** 0.5
    shifted = (replace(one, mean=one.mean + effect) for one in world.estimates(comparisons))
    return float(np.mean([(equivalence_p(one, effect) or 0.0) < ALPHA for one in shifted]))


def stopped_wrongly(most: int, examples: int = 0, comparisons: int = COMPARISONS) -> float:
    """The share of comparisons of arms that are alike which `seeds=auto` calls different at any look.

    Args:
        most: seeds that there may be; looks are after each from the third on.
        examples: of a test set that all seeds share, which varies as much as they do; 0 for seeds alone.
    """
    rng = np.random.default_rng([most, examples])
    looks = range(MINIMUM_SEEDS, most + 1)
    levels = [nominal(looks[: k + 1], most, ALPHA) for k in range(len(looks))]
    wrong = 0
    for _ in range(comparisons):
        if examples:
            table = differences(Components(1 / examples, 1 / most, 1.0), most, examples, False, rng)
        else:
            table = rng.normal(size=(most, 1))
        found = (estimate(table[:now].mean(1), [table[:now]]).p() for now in looks)
        wrong += any((p or 0.0) < level for p, level in zip(found, levels, strict=True))
    return wrong / comparisons


def rows() -> Iterator[tuple[str, float, float]]:
    """Name, share in per cent, and what it should be; about a minute."""
    for nested in (False, True):
        for seeds in SEEDS:
            for regime in REGIMES:
                share = covered(World(regime, seeds, nested))
                yield f"coverage/{'own' if nested else 'shared'}_test_set/{seeds}_seeds/{regime}", 100 * share, 95.0
    for seeds in SEEDS:
        yield f"equivalence/{seeds}_seeds/both", 100 * equivalent(World("both", seeds)), 5.0
    for most in (4, 8, 20):
        yield f"auto/up_to_{most}_seeds", 100 * stopped_wrongly(most, comparisons=10_000), 5.0
    yield "auto/up_to_8_seeds/shared_test_set", 100 * stopped_wrongly(8, examples=60), 5.0
