"""Statistics put into words: what may be said of a pair of arms, and of one arm.

Whether arms differ is decided by the p value after Holm's correction, and the interval shown is that of the same
level: it leaves out 0 exactly where the verdict is better or worse. That they do not differ needs a word on what
matters. Where the user gave one, the smallest difference of interest (`effect=`), two one-sided tests decide whether
they are equivalent. Else one constant rules: `MEANINGFUL`, the difference in normalised score below which it does not
matter. Two arms whose intervals end within it of the ceiling leave no room for a difference; a comparison whose
smallest detectable effect exceeds it had too few seeds to say. Where no ceiling is known, as for open text, differences
are measured against the better arm's gain over the floor; where no floor is known either, nothing is ever ruled out.
"""

import math
from dataclasses import dataclass
from typing import Literal

from headwise.lab.families import ALPHA
from headwise.lab.formatting import (
    format_confidence,
    format_difference,
    format_interval_of_difference,
    format_p,
    format_percent,
    format_quantity,
)
from headwise.lab.statistics import MINIMUM_SEEDS, Mean, Pair

# 5 %: on sorting at n = 20 that is a Kendall's tau of 0.025, three times the tolerance asked of a correct model.
MEANINGFUL = 0.05

Kind = Literal[
    "better",
    "worse",
    "equivalent",
    "no room",
    "at the floor",
    "identical",
    "no difference",
    "too few seeds",
    "no verdict",
    "no result",
]


@dataclass(frozen=True)
class Verdict:
    """`kind` for programs, `sentence` for people; both speak of arm `a` compared with arm `b`."""

    a: str
    b: str
    kind: Kind
    sentence: str


@dataclass(frozen=True)
class MetricBounds:
    """Floor and ceiling of a metric on the test examples; with one unknown (`None`) there are no normalised scores."""

    floor: float | None
    ceiling: float | None
    higher_is_better: bool = True

    def normalised(self, value: float | None) -> float | None:
        """The normalised score of `value`: 0 at the floor, 1 at the ceiling, in either direction of the metric."""
        length = self.length
        if value is None or length is None or self.floor is None:
            return None
        return (value - self.floor) / length

    @property
    def length(self) -> float | None:
        """Ceiling minus floor, negative where lower is better; `None` if unknown or zero."""
        if self.floor is None or self.ceiling is None or not math.isfinite(self.floor + self.ceiling):
            return None
        return (self.ceiling - self.floor) or None

    def unit(self, means: tuple[Mean, Mean]) -> tuple[float, str] | None:
        """What differences between two arms are measured against: its length, above 0, and how that is said."""
        if self.length is not None:
            return abs(self.length), "in normalised score"
        if self.floor is None or not math.isfinite(self.floor):
            return None
        gained = (max if self.higher_is_better else min)(mean.mean for mean in means) - self.floor
        gained = gained if self.higher_is_better else -gained
        return (gained, "of the better arm's gain over the floor") if gained > 0 else None


def _relative(difference: float, unit: tuple[float, str] | None) -> str:
    """', 2.4 % in normalised score', or nothing where there is no unit."""
    return "" if unit is None else f", {format_percent(abs(difference) / unit[0])} {unit[1]}"


Standing = Literal["at the ceiling", "between", "at the floor", "unknown"]


def standing(mean: Mean, bounds: MetricBounds) -> Standing:
    """Where an arm stands: at an end only if its whole interval lies within `MEANINGFUL` of it (or beyond)."""
    if mean.interval is None or mean.n < MINIMUM_SEEDS:
        return "unknown"
    scores = [bounds.normalised(bound) for bound in mean.interval]
    known = [score for score in scores if score is not None]
    if not known:
        return "unknown"
    if min(known) >= 1 - MEANINGFUL:
        return "at the ceiling"
    return "at the floor" if max(known) <= MEANINGFUL else "between"


def verdict(pair: Pair, means: tuple[Mean, Mean], bounds: MetricBounds, quick: bool = False) -> Verdict:
    """The honest sentence about `pair`.

    Args:
        means: those of its arms a and b over all their seeds.
        quick: the runs were cut down to seconds, so nothing is said.
    """
    kind, sentence = _judge(pair, means, bounds, quick)
    return Verdict(pair.a, pair.b, kind, sentence)


def _judge(pair: Pair, means: tuple[Mean, Mean], bounds: MetricBounds, quick: bool) -> tuple[Kind, str]:
    a, b, difference = pair.a, pair.b, pair.difference
    if pair.n == 0 or difference is None:
        return "no result", f"Nothing to compare: {a} and {b} have no seed on which both gave a result."
    measured = f"{a} minus {b} is {format_difference(difference, signed=True)}"
    if quick:
        return "no verdict", f"A quick try allows no verdict ({measured})."
    if pair.n < MINIMUM_SEEDS or pair.interval is None:
        few = f"{MINIMUM_SEEDS} are the fewest that allow a test, here {'is' if pair.n == 1 else 'are'} {pair.n}"
        return "too few seeds", f"Too few seeds to say: {few} ({measured})."
    ends = {standing(mean, bounds) for mean in means}
    floor = f"Nothing learned: neither {a} nor {b} rises above the floor ({measured})."
    if pair.identical and ends == {"at the floor"}:
        return "at the floor", floor
    if pair.identical:
        whole = all(mean.mean == bounds.ceiling for mean in means)
        if whole and pair.effect is None:
            return "no room", f"No room left below the ceiling: {a} and {b} reach it on every seed."
        if whole:
            return "identical", f"No difference: {a} and {b} reach the ceiling on every seed."
        return "identical", f"No difference: {a} and {b} gave the same value on every seed; are they really two models?"
    p = pair.p_paired if pair.p_holm is None else pair.p_holm
    significant = p is not None and p < ALPHA
    better = difference > 0 if bounds.higher_is_better else difference < 0
    by = f"by {format_difference(abs(difference))}"
    corrected = "" if pair.p_holm is None else " after Holm's correction"
    evidence = f"paired over {_paired_over(pair)}, p {_equals(p)}{corrected}"

    if pair.effect is not None and pair.p_equivalent is not None and pair.p_equivalent < ALPHA:
        lead = f"; {a if better else b} is ahead {by} ({evidence})" if significant else f" ({measured})"
        tests = f"two one-sided tests over {_paired_over(pair)}, p {_equals(pair.p_equivalent)}{corrected}"
        ruled = f"a difference of {format_difference(pair.effect)} or more is ruled out ({tests})"
        return "equivalent", f"{a} and {b} are equivalent: {ruled}{lead}."
    if ends == {"at the ceiling"} and pair.effect is None:
        lead = (
            f"; {a if better else b} is ahead {by} ({evidence})" if significant else f" ({measured}, not significant)"
        )
        reach = f"{a} and {b} both reach it within {format_percent(MEANINGFUL)} in normalised score"
        return "no room", f"No room left below the ceiling: {reach}{lead}."
    if ends == {"at the floor"}:
        return "at the floor", floor
    if significant:
        interval = format_interval_of_difference(_absolute(pair.interval, difference), signed=False)
        sure = f"{interval} with {format_confidence(pair.confidence)} confidence"
        kind: Kind = "better" if better else "worse"
        return kind, f"{a} is {kind} than {b} {by} ({sure}{_relative(difference, bounds.unit(means))}); {evidence}."
    if p is None:
        return "too few seeds", f"No test possible: {measured} on every seed, without variation."
    return _undecided(pair, bounds.unit(means), f"{measured}, {evidence}")


def _undecided(pair: Pair, unit: tuple[float, str] | None, evidence: str) -> tuple[Kind, str]:
    """Not significant: either a difference that matters is ruled out, or nothing can be said."""
    assert pair.interval is not None
    assert pair.smallest_detectable is not None
    if pair.effect is not None:
        return "too few seeds", (
            f"Too few seeds to say: differences from {format_interval_of_difference(pair.interval)} are possible, and "
            f"neither 0 nor {format_difference(pair.effect)} is ruled out ({evidence})."
        )
    largest, hidden = max(abs(bound) for bound in pair.interval), pair.smallest_detectable
    matters = 0.0 if unit is None else MEANINGFUL * unit[0]
    if max(largest, hidden) <= matters:
        return "no difference", (
            f"No difference shown: one larger than {format_difference(largest)}{_relative(largest, unit)}, is ruled "
            f"out by the {format_confidence(pair.confidence)} interval; a smaller one could be hidden ({evidence})."
        )
    seeds = format_quantity(pair.n, "seed")
    if hidden > matters:
        return "too few seeds", (
            f"Too few seeds to say: {seeds} can show a difference of {format_difference(hidden)} or more"
            f"{_relative(hidden, unit)}, in a single test ({evidence})."
        )
    return "too few seeds", (
        f"Too few seeds to say: one of {format_difference(largest)}{_relative(largest, unit)}, is possible but not "
        f"shown ({evidence})."
    )


def _paired_over(pair: Pair) -> str:
    """3 seeds and 1000 test examples; seeds alone where that is all that is known."""
    seeds, examples = format_quantity(pair.n, "seed"), pair.estimate.examples if pair.estimate else 0
    return f"{seeds} and {format_quantity(examples, 'test example')}" if examples else seeds


def _absolute(bounds: tuple[float, float], difference: float) -> tuple[float, float]:
    return bounds if difference > 0 else (-bounds[1], -bounds[0])


def _equals(p: float | None) -> str:
    text = format_p(p)
    return text if text.startswith("<") else f"= {text}"
