"""What a control found: the comparison of its arms, the curve over FFN width, and the sentence on both."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from headwise.lab.comparison.plan import Plan
from headwise.lab.comparison.results import by_test_set, corrected, limits_of, with_nan
from headwise.lab.comparison.verdicts import MetricBounds, verdict
from headwise.lab.control.conclusion import Evidence, conclude, curve_sentence
from headwise.lab.control.plan import Control
from headwise.lab.mixed import Interval
from headwise.lab.records import number, read_run
from headwise.lab.statistics import Mean, Pair, compare_pair

Plain = Mapping[str, Any]


def summarise(planned: Control, comparisons: Sequence[Plain]) -> dict[str, Any]:
    """The content of control.json, without `how`.

    Args:
        comparisons: the content of each comparison.json, in the order of `Control.comparisons`.
    """
    arms, *others = comparisons
    alone = iter(others)
    curve = _curve(planned, [(next(alone), next(alone)) for _ in planned.curve], arms)
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


def _curve(planned: Control, results: Sequence[tuple[Plain, Plain]], arms: Plain) -> list[dict[str, Any]]:
    """The reference and the routed arm at each width, both as a comparison has them, and their difference; the widths
    are one family of tests."""
    limits = limits_of(arms["metric_range"])
    shown = [{**ours["arms"], **theirs["arms"]} for ours, theirs in results]
    every = zip(planned.curve.values(), shown, strict=True)
    pairs = corrected([_pair(plans, found, limits) for plans, found in every], limits)
    bounds = MetricBounds(number(arms["floor"]), number(arms["ceiling"]), arms["higher_is_better"])
    points = []
    for width, found, pair in zip(planned.curve, shown, pairs, strict=True):
        said = verdict(pair, (_mean(found[pair.a]), _mean(found[pair.b])), bounds, arms["quick"])
        points.append(
            {"ffn": width, "arms": found, "pair": asdict(pair) | {"kind": said.kind, "verdict": said.sentence}}
        )
    return points


def _pair(plans: tuple[Plan, Plan], arms: Plain, limits: Interval) -> Pair:
    runs = {(run.label, run.seed): read_run(run.directory) for plan in plans for run in plan.runs}
    reference, routed = arms
    values = with_nan(arms[routed]["values"]), with_nan(arms[reference]["values"])
    return compare_pair(routed, reference, values, by_test_set([routed, reference], runs, plans[0].seeds), limits)


def _mean(arm: Plain) -> Mean:
    interval = None if arm["interval"] is None else (arm["interval"][0], arm["interval"][1])
    known = [value for value in arm["values"] if value is not None]
    return Mean(math.nan if arm["mean"] is None else arm["mean"], interval, len(known))
