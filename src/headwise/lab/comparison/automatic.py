"""`seeds=auto`: one more seed after the other, until every pair is decided or the limit is reached.

From the third seed on the data are looked at after each, by a group-sequential rule (`headwise.lab.sequential`), so the
chance of a false claim over all looks is that of one test. It ends where

- every pair is better, worse or equivalent at the level of that look;
- no pair that is open could be decided with all the seeds that there may be (less than one chance in ten, even if the
  variance is smaller than it looks);
- the next seed would exceed the hours or the number of seeds allowed.

What the comparison knows of itself stands in comparison.json, so one that was stopped goes on with the looks it had.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from headwise.errors import InputError
from headwise.files import write_json
from headwise.lab.comparison.compare import compare
from headwise.lab.comparison.launchers import LOCAL
from headwise.lab.comparison.launching import Launcher
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.plan import new_directory
from headwise.lab.comparison.resolution import hours_per_seed
from headwise.lab.comparison.rules import Rule
from headwise.lab.comparison.runs import Train
from headwise.lab.equivalence import check_effect
from headwise.lab.families import ALPHA
from headwise.lab.mixed import Estimate
from headwise.lab.outputs import COMPARISON
from headwise.lab.records import found_comparison
from headwise.lab.statistics import MINIMUM_SEEDS
from headwise.training.config import RunConfig, differences

MOST_SEEDS = 100
"""Where only hours are limited: beyond, another seed changes no decision."""
FUTILE = 0.1
DECIDED = ("better", "worse", "equivalent", "identical")


@dataclass(frozen=True)
class Limits:
    """Until when seeds are added.

    Attributes:
        effect: the smallest difference of interest, in units of the metric.
        max_hours: of training that there may be in all, runs side by side counted once.
        max_seeds: that there may be.

    Raises:
        InputError: no effect, no limit, or one that leaves no room for a test.
    """

    effect: float | None
    max_hours: float | None = None
    max_seeds: int | None = None

    def __post_init__(self) -> None:
        check_effect(self.effect)
        if self.effect is None:
            raise InputError("seeds=auto: says with effect= which difference would matter, as effect=0.005")
        if self.max_hours is None and self.max_seeds is None:
            raise InputError("seeds=auto: needs an end, max_hours= or max_seeds=")
        if self.max_hours is not None and self.max_hours <= 0:
            raise InputError(f"max_hours={self.max_hours:g}: choose more than 0")
        if self.max_seeds is not None and self.max_seeds < MINIMUM_SEEDS:
            raise InputError(f"max_seeds={self.max_seeds}: choose {MINIMUM_SEEDS} or more; fewer allow no test")


def compare_until_decided(
    arms: Sequence[tuple[str, RunConfig]],
    limits: Limits,
    parity: Mode = "parameters",
    output: Path | str | None = None,
    jobs: int | None = None,
    train: Train | None = None,
    launcher: Launcher = LOCAL,
) -> dict[str, Any]:
    """Compare with as many seeds as it takes.

    Args:
        arms, parity, output, jobs, train, launcher: as for `headwise.lab.comparison.compare.compare`.
        limits: what must be decided, and until when.

    Returns:
        the content of comparison.json.

    Raises:
        InputError: as `compare`; or an output that holds such a comparison with other limits, which may not be moved
            once data have been seen.
        Stopped, StorageError, WorkerLostError: as `compare`; the same command goes on.
    """
    if not arms:
        raise InputError("arms=[]: name at least one arm")
    output = Path(output) if output else new_directory(arms[0][1], "compare")
    looks, most = _known(output, limits)

    def look(seeds: int, rule: Rule) -> dict[str, Any]:
        return compare(arms, seeds, parity, output, jobs, train, launcher, rule)

    if not looks:
        looks = (MINIMUM_SEEDS,)
        # How many seeds there will be is known from how long the first take, before anything of them is judged
        most = limits.max_seeds or MOST_SEEDS
        if limits.max_hours is not None:
            first = look(MINIMUM_SEEDS, Rule(limits.effect))
            most = max(MINIMUM_SEEDS, min(most, int(limits.max_hours / hours_per_seed(first))))
    while True:
        rule = Rule(limits.effect, looks, most, limits.max_hours, limits.max_seeds)
        result = look(looks[-1], rule)
        if (reason := why_no_more(result, rule)) is not None:
            result["looks"]["ended"] = reason
            write_json(output / COMPARISON, result)
            return result
        looks = (*looks, looks[-1] + 1)


def _known(output: Path, limits: Limits) -> tuple[tuple[int, ...], int]:
    """Looks and most seeds of the comparison that an output holds."""
    result = found_comparison(output)
    looks = result.get("looks")
    if not looks:
        return (), 0
    before = {"effect": result.get("effect"), **{key: looks[key] for key in ("max_hours", "max_seeds")}}
    now = {"effect": limits.effect, "max_hours": limits.max_hours, "max_seeds": limits.max_seeds}
    for key, old, new in differences(before, now):
        raise InputError(f"output={output}: holds a comparison with {key}={old}, now {new}; choose another output")
    return tuple(looks["seeds"]), int(looks["most"])


def why_no_more(result: Mapping[str, Any], rule: Rule) -> str | None:
    """Why no further seed is trained; None if one is."""
    seeds = rule.looks[-1]
    if result["quick"]:
        return "a quick try allows no verdict"
    open_pairs = [pair for pair in result["pairs"] if pair["kind"] not in DECIDED]
    if not open_pairs:
        return "every pair is decided"
    if seeds >= rule.most:
        return "the limit is reached"
    if rule.max_hours is not None and (seeds + 1) * hours_per_seed(result) > rule.max_hours:
        return "another seed would exceed the hours"
    chances = [chance_to_decide(_estimate(pair), rule, len(result["pairs"])) for pair in open_pairs]
    if max(chances) < FUTILE:
        return "what is open would stay open"
    return None


def _estimate(pair: Mapping[str, Any]) -> Estimate | None:
    return None if pair.get("estimate") is None else Estimate.from_plain(pair["estimate"])


def chance_to_decide(estimate: Estimate | None, rule: Rule, pairs: int) -> float:
    """The chance that a pair will be decided once there are as many seeds as there may be, as the data stand.

    The mean of then lies around that of now by what the variance shrinks. As few seeds hardly tell their variance, the
    lower end of its one-sided 90 % interval is taken, so that few decisions that were to be had are given up. Where
    nothing is known yet, 1.
    """
    if estimate is None or estimate.seeds < MINIMUM_SEEDS or rule.effect is None or estimate.error == 0:
        return 1.0
    df = estimate.seeds - 1
    scatter = estimate.scatter * df / float(stats.chi2.ppf(0.9, df))
    now, then = scatter + estimate.shared, scatter * estimate.seeds / rule.most + estimate.shared
    error, spread = math.sqrt(then), math.sqrt(max(now - then, 1e-300))
    apart = float(stats.norm.isf(ALPHA / 2 / pairs)) * error
    inside = rule.effect - float(stats.norm.isf(ALPHA / pairs)) * error
    normal = stats.norm(estimate.mean, spread)
    different = float(normal.sf(apart) + normal.cdf(-apart))
    equivalent = float(normal.cdf(inside) - normal.cdf(-inside)) if inside > 0 else 0.0
    return min(1.0, different + equivalent)
