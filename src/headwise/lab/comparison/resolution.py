"""How many seeds and test examples it takes to see a difference, from the variances of a finished comparison.

Seeds reduce what differs from run to run, test examples what all seeds share; a table over both shows which of them is
in the way. Asked is for a difference that would be shown with a power of 80 %, at the strictest level that Holm's
correction may ask of a pair, and for the one that would be ruled out as often between arms that do not differ.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from scipy import stats

from headwise.errors import InputError
from headwise.lab.equivalence import check_effect
from headwise.lab.families import ALPHA
from headwise.lab.mixed import Components, Estimate
from headwise.lab.power import POWER, noncentrality
from headwise.lab.records import number
from headwise.lab.statistics import MINIMUM_SEEDS

Plain = Mapping[str, Any]
SEEDS = (3, 4, 5, 6, 8, 10, 15, 20, 30, 50)
TIMES = (1, 2, 4, 10)
"""Test examples of the table, as multiples of those that there are."""
MOST_SEEDS = 1000
BOUNDS = 0.8
"""Confidence of the range given for the number of seeds."""


@dataclass(frozen=True)
class Cell:
    """What a comparison of this size could say of the pair that varies most.

    Attributes:
        can_show: the smallest difference shown with a power of 80 %.
        can_rule_out: the smallest difference of interest that arms without any are shown to stay below, as often.
    """

    seeds: int
    examples: int
    can_show: float
    can_rule_out: float
    hours: float


@dataclass(frozen=True)
class Variances:
    """The variances of a pair, scaled to what they may be; `level` is that of its test."""

    components: Components
    level: float

    def cell(self, seeds: int, examples: int, hours: float) -> Cell:
        """What so many seeds and examples can say."""
        scatter, shared = self.components.variance(seeds, max(examples, 1))
        df = Estimate(0.0, seeds, examples, scatter, shared, max(examples - 1, 1)).df
        error = math.sqrt(scatter + shared)
        # Arms that do not differ are called equivalent if both one-sided tests reject
        within = float(stats.t.isf(self.level, df) + stats.t.isf((1 - POWER) / 2, df))
        return Cell(seeds, examples, noncentrality(df, alpha=self.level) * error, within * error, seeds * hours)


def forecast(result: Plain, effect: float) -> dict[str, Any]:
    """What it takes to see `effect`, as plain JSON.

    Args:
        result: content of comparison.json.
        effect: the difference to be seen, in units of the metric.

    Returns:
        `table`, of `Cell`s; `recommended`, the cell with the fewest seeds that can show the effect, with the range that
        the seeds may have to be in, or None; `variances` by pair; `hours_per_seed` and what was asked.

    Raises:
        InputError: an effect that is not above 0; fewer than two seeds or arms, or no variation.
    """
    check_effect(effect)
    known = _estimates(result)
    level = ALPHA / len(known)
    seeds, examples = len(result["seeds"]), round(max(one.examples_per_seed for one in known.values()))
    hours = hours_per_seed(result)
    pairs = {name: Variances(_components(one), level) for name, one in known.items()}
    table = [_hardest(pairs, n, examples * k, hours) for n in SEEDS for k in (TIMES if examples else (1,))]
    return {
        "effect": effect,
        "metric": result["metric"],
        "power": POWER,
        "level": level,
        "now": asdict(_hardest(pairs, max(seeds, 2), examples, hours)),
        "hours_per_seed": hours,
        "variances": {name: asdict(one.components) for name, one in pairs.items()},
        "table": [asdict(cell) for cell in table],
        "recommended": _recommended(pairs, effect, examples, hours, seeds),
        "quick": bool(result.get("quick")),
    }


def hours_per_seed(result: Plain) -> float:
    """Hours that one more seed of all arms takes, with as many runs side by side as there were."""
    seconds = sum(number(arm["train_seconds"]) or 0.0 for arm in result["arms"].values())
    beside = max(1, min(int(result["how"]["processes"]), len(result["arms"])))
    return max(seconds / beside / 3600, 1e-9)


def _estimates(result: Plain) -> dict[str, Estimate]:
    """What is known of each pair that varies, by its name."""
    if not result["pairs"]:
        raise InputError(f"{result['directory']}: one arm; variances of differences need two")
    if len(result["seeds"]) < 2:
        raise InputError(
            f"{result['directory']}: one seed, which says nothing of the next; run the same comparison with "
            f"seeds={MINIMUM_SEEDS} (finished runs are kept)"
        )
    try:
        known = {
            f"{pair['a']} - {pair['b']}": Estimate.from_plain(pair["estimate"])
            for pair in result["pairs"]
            if pair.get("estimate")
        }
    except ValueError as error:
        raise InputError(f"{result['directory']}: comparison.json is damaged: {error}") from error
    varying = {name: one for name, one in known.items() if one.seeds > 1 and one.error > 0}
    if not varying:
        raise InputError(f"{result['directory']}: no pair of arms differs from seed to seed; nothing to plan from")
    return varying


def _components(one: Estimate) -> Components:
    """Variance components; all between seeds where the values on the test examples are not known."""
    return one.components or Components(one.scatter * one.seeds, 0.0, 0.0)


def _hardest(pairs: Mapping[str, Variances], seeds: int, examples: int, hours: float) -> Cell:
    return max((pair.cell(seeds, examples, hours) for pair in pairs.values()), key=lambda cell: cell.can_show)


def _recommended(
    pairs: Mapping[str, Variances], effect: float, examples: int, hours: float, known: int
) -> dict[str, Any] | None:
    """The cell with the fewest seeds that shows the effect, with more test examples only if seeds alone do not do it.

    `seeds_low` and `seeds_high` are what it would be if the scatter of the `known` seeds were at the ends of its 80 %
    interval; None for more than `MOST_SEEDS`.
    """
    tail = (1 - BOUNDS) / 2
    low, high = ((known - 1) / float(stats.chi2.ppf(1 - p, known - 1)) for p in (tail, 1 - tail))
    for times in TIMES if examples else (1,):
        count = examples * times
        seeds = _fewest(pairs, effect, count)
        if seeds is not None:
            ends = {
                f"seeds_{name}": _fewest({pair: _scaled(one, by) for pair, one in pairs.items()}, effect, count)
                for name, by in (("low", low), ("high", high))
            }
            return {**asdict(_hardest(pairs, seeds, count, hours)), **ends}
    return None


def _scaled(pair: Variances, by: float) -> Variances:
    """The same with another variance between seeds."""
    return replace(pair, components=replace(pair.components, seed=pair.components.seed * by))


def _fewest(pairs: Mapping[str, Variances], effect: float, examples: int) -> int | None:
    """The fewest seeds that show the effect in every pair; what can be shown falls with each further seed."""
    reaches = [seeds for seeds in (MINIMUM_SEEDS, MOST_SEEDS) if _hardest(pairs, seeds, examples, 0).can_show <= effect]
    if not reaches or reaches[0] == MINIMUM_SEEDS:
        return reaches[0] if reaches else None
    low, high = MINIMUM_SEEDS, MOST_SEEDS  # fails, reaches
    while high - low > 1:
        middle = (low + high) // 2
        enough = _hardest(pairs, middle, examples, 0).can_show <= effect
        low, high = (low, middle) if enough else (middle, high)
    return high
