"""What a control found: the comparison of its arms, the curve over FFN width, and the sentence on both."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from headwise.lab.comparison.plan import Plan
from headwise.lab.comparison.results import by_test_set
from headwise.lab.comparison.verdicts import MetricBounds, verdict
from headwise.lab.control.conclusion import Evidence, conclude, curve_sentence
from headwise.lab.control.plan import Control
from headwise.lab.records import number, read_run
from headwise.lab.statistics import Mean, compare_pair


def summarise(planned: Control, comparisons: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of control.json, without `how`.

    Args:
        comparisons: the content of each comparison.json, in the order of `Control.comparisons`.
    """
    arms, *others = comparisons
    alone = iter(others)
    curve = [_point(width, plans, (next(alone), next(alone)), arms) for width, plans in planned.curve.items()]
    found = conclude(arms, planned.chosen.known)
    said = curve_sentence(Evidence(arms), curve)
    return {
        "task": arms["task"],
        "known": planned.chosen.known,
        "outcome": found.outcome,
        "headline": found.sentence,
        "lead": [said] if said and not arms["quick"] else [],
        "steps": planned.chosen.steps,
        "left_out": planned.chosen.left_out,
        "comparison": arms,
        "curve": curve,
        "directory": str(planned.output),
    }


def _point(
    width: int, plans: tuple[Plan, Plan], results: tuple[dict[str, Any], dict[str, Any]], arms: dict[str, Any]
) -> dict[str, Any]:
    """The reference and the routed arm at one width: both as a comparison has them, and their difference."""
    (reference, ours), (routed, theirs) = (next(iter(result["arms"].items())) for result in results)
    runs = {(run.label, run.seed): read_run(run.directory) for plan in plans for run in plan.runs}
    seeds = plans[0].seeds
    pair = compare_pair(
        routed,
        reference,
        (_values(theirs), _values(ours)),
        by_test_set([routed, reference], runs, seeds),
        _limits(arms["metric_range"]),
    )
    bounds = MetricBounds(number(arms["floor"]), number(arms["ceiling"]), arms["higher_is_better"])
    said = verdict(pair, (_mean(theirs), _mean(ours)), bounds, arms["quick"])
    return {
        "ffn": width,
        "arms": {reference: ours, routed: theirs},
        "pair": {**asdict(pair), "kind": said.kind, "verdict": said.sentence},
    }


def _values(arm: dict[str, Any]) -> list[float]:
    return [math.nan if value is None else value for value in arm["values"]]


def _mean(arm: dict[str, Any]) -> Mean:
    interval = None if arm["interval"] is None else (arm["interval"][0], arm["interval"][1])
    known = [value for value in arm["values"] if value is not None]
    return Mean(math.nan if arm["mean"] is None else arm["mean"], interval, len(known))


def _limits(ends: Sequence[float | None]) -> tuple[float, float]:
    low, high = ends
    return -math.inf if low is None else low, math.inf if high is None else high
