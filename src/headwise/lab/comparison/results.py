"""The result of a comparison: from run directories to means, intervals, pairs and verdicts."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwise.lab.comparison.headlines import control_for, headline
from headwise.lab.comparison.parity import Parity
from headwise.lab.comparison.rules import ONCE, Rule
from headwise.lab.comparison.verdicts import MetricBounds, standing, verdict
from headwise.lab.equivalence import equivalence_p
from headwise.lab.families import holm, levels
from headwise.lab.mixed import Interval
from headwise.lab.names import short_names
from headwise.lab.records import Run, distinct, number
from headwise.lab.statistics import MINIMUM_SEEDS, Pair, compare_pair, mean_interval, within
from headwise.schema import to_plain


def summarise(
    runs: Mapping[tuple[str, int], Run],
    seeds: Sequence[int],
    sized: Parity,
    failures: Mapping[tuple[str, int], str],
    facts: Mapping[str, Any],
    rule: Rule = ONCE,
    tested: Sequence[tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """The content of comparison.json, without `how`.

    Args:
        runs: by (label, seed); a run without a summary counts as missing.
        failures: what went wrong, by (label, seed).
        facts: `task`, `metric`, `metric_range`, `higher_is_better`, `quick` and whatever else the report shows.
        rule: what verdicts go by.
        tested: the pairs of labels (a, b) that are compared, a with b; default every arm with the first, then the
            others among themselves.
    """
    labels = [one.label for one in sized.arms]
    summaries = [run.summary for run in runs.values() if run.summary]
    first = summaries[0] if summaries else {}
    floor, ceiling = (mean_of(summary.get(key) for summary in summaries) for key in ("floor", "ceiling"))
    bounds = MetricBounds(floor, ceiling, bool(facts["higher_is_better"]))
    values = {label: [number(runs[label, seed].summary.get("value")) for seed in seeds] for label in labels}
    limits = limits_of(facts["metric_range"])
    means = {
        label: mean_interval(with_nan(values[label]), [own for (own,) in by_test_set([label], runs, seeds)], limits)
        for label in labels
    }
    tested = every_pair(labels) if tested is None else tested
    pairs = corrected(compare_arms(tested, values, runs, seeds, limits), limits, rule)
    controls = {one.label: control_for(one.arm) for one in sized.arms}
    names = short_names(labels)  # what sentences say for the labels
    by_name = {names[label]: mean for label, mean in means.items()}
    spoken = [replace(pair, a=names[pair.a], b=names[pair.b]) for pair in pairs]
    verdicts = [
        verdict(pair, (by_name[pair.a], by_name[pair.b]), bounds, quick=bool(facts["quick"])) for pair in spoken
    ]
    return {
        **facts,
        "floor": floor,
        "ceiling": ceiling,
        "references": _means(summary.get("references") for summary in summaries),
        "references_by_metric": _means(summary.get("references_by_metric") for summary in summaries),
        "headline": headline(
            verdicts,
            by_name,
            {names[label]: what for label, what in controls.items()},
            bounds.higher_is_better,
        ),
        "effect": rule.effect,
        "looks": rule.looks_to_plain,
        "seeds": list(seeds),
        "updates": first.get("updates"),
        "sources": distinct(summary.get("headwise") for summary in summaries),
        "examples": first.get("examples"),
        "parity": sized.to_plain(),
        "arms": {
            one.label: {
                "values": values[one.label],
                "mean": means[one.label].mean,
                "interval": means[one.label].interval,
                "standing": standing(means[one.label], bounds),
                "control": controls[one.label],
                "parameters": one.size.parameters,
                "parameter_ratio": one.parameter_ratio,
                "flops_per_example": one.size.flops,
                "flops_ratio": one.flops_ratio,
                **_means_over_runs([runs[one.label, seed].summary for seed in seeds]),
                "model": to_plain(one.model),
                "arm": to_plain(one.arm),
                "failures": {str(seed): failures[one.label, seed] for seed in seeds if (one.label, seed) in failures},
            }
            for one in sized.arms
        },
        "pairs": [
            {**asdict(pair), "kind": said.kind, "verdict": said.sentence}
            for pair, said in zip(pairs, verdicts, strict=True)
        ],
    }


def table(result: Mapping[str, Any]) -> str:
    """One row for each run, as CSV, for those who want to do their own statistics."""
    rows = []
    for label, arm in result["arms"].items():
        for seed, value in zip(result["seeds"], arm["values"], strict=True):
            ends = [result["floor"], result["ceiling"]]
            size = [arm["parameters"], arm["flops_per_example"], str(bool(result["quick"])).lower()]
            rows.append(
                [result["task"], result["metric"], label, seed, value, *ends, *size, arm["failures"].get(str(seed))]
            )
    sizes = ("parameters", "flops_per_example", "quick", "failure")
    return csv_text(["task", "metric", "arm", "seed", "value", "floor", "ceiling", *sizes], rows)


PAIR_NUMBERS = ("n", "difference", "low", "high", "confidence", "p_paired", "p_holm", "effect", "p_equivalent")


def pair_table(result: Mapping[str, Any]) -> str:
    """One row for each pair of arms, as CSV: what was found, and what may be said of it."""
    rows = []
    for pair in result["pairs"]:
        low, high = pair["interval"] or (None, None)
        known = {**pair, "low": low, "high": high}
        rows.append([*(known[key] for key in ("a", "b", "kind", *PAIR_NUMBERS)), pair["verdict"]])
    return csv_text(["a", "b", "kind", *PAIR_NUMBERS, "verdict"], rows)


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as CSV, empty where there is None."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([["" if entry is None else entry for entry in row] for row in rows])
    return text.getvalue()


def every_pair(labels: Sequence[str]) -> list[tuple[str, str]]:
    """Every arm with the first, then the others among themselves."""
    return [(a, labels[0]) for a in labels[1:]] + [(a, b) for i, b in enumerate(labels[1:], 1) for a in labels[i + 1 :]]


def compare_arms(
    tested: Sequence[tuple[str, str]],
    values: Mapping[str, Sequence[float | None]],
    runs: Mapping[tuple[str, int], Run],
    seeds: Sequence[int],
    limits: Interval,
    bootstrap: bool = True,
) -> list[Pair]:
    """These pairs of arms, a with b; arguments as in `compare_pair`."""
    return [
        compare_pair(
            a, b, (with_nan(values[a]), with_nan(values[b])), by_test_set([a, b], runs, seeds), limits, bootstrap
        )
        for a, b in tested
    ]


def corrected(pairs: Sequence[Pair], limits: Interval, rule: Rule = ONCE) -> list[Pair]:
    """The pairs as a family: p values after Holm's correction, and intervals of the levels that he tests at.

    That arms differ and that they are equivalent are two families: of a pair at most one of the two hypotheses that
    these claims reject is true, and the chance of a false claim of either kind stays below the family's level.
    """
    decided = [pair.p_paired for pair in pairs]
    equivalent = [
        equivalence_p(pair.estimate, rule.effect)
        if rule.effect is not None and pair.estimate is not None and pair.n >= MINIMUM_SEEDS
        else None
        for pair in pairs
    ]
    apart = zip(holm(decided, rule.level), levels(decided, rule.level), strict=True)
    every = zip(pairs, apart, holm(equivalent, rule.one_sided), strict=True)
    return [
        replace(
            pair,
            p_holm=p,
            confidence=1 - alpha,
            interval=None if pair.estimate is None else within(pair.estimate, 1 - alpha, limits),
            effect=rule.effect,
            p_equivalent=p_equivalent,
        )
        for pair, (p, alpha), p_equivalent in every
    ]


def by_test_set(
    labels: Sequence[str], runs: Mapping[tuple[str, int], Run], seeds: Sequence[int]
) -> list[tuple[NDArray[np.float32], ...]]:
    """What these arms did on each test example: for each test set an array [seeds, examples] of each arm.

    Its seeds are those that share it, as they do where the test examples are given and not drawn, and on which all of
    the arms have values.
    """
    found: dict[str, list[list[NDArray[np.float32]]]] = {}
    for seed in seeds:
        own = [values for label in labels if (values := runs[label, seed].test_values) is not None]
        if len(own) == len(labels) and len({len(values) for values in own}) == 1:
            drawn = str(runs[labels[0], seed].summary.get("test_fingerprint", f"seed {seed}"))
            found.setdefault(drawn, []).append(own)
    return [tuple(np.stack(arm) for arm in zip(*own, strict=True)) for own in found.values()]


def limits_of(ends: Sequence[float | None]) -> Interval:
    """A metric's range as it is written to JSON, null for infinite."""
    low, high = ends
    return -math.inf if low is None else low, math.inf if high is None else high


def _means_over_runs(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the seeds of what a run's summary says beside its value; absent where no seed knows it."""
    speeds = [
        examples / seconds
        for summary in summaries
        if (examples := number(summary.get("examples"))) and (seconds := number(summary.get("train_seconds")))
    ]
    keys = ["updates", "examples", "flops_per_example", "train_seconds"]
    keys += ["refinement_steps_mean", "heads_active_mean", "heads_executed_mean"]
    means = {key: mean_of(summary.get(key) for summary in summaries) for key in keys}
    known = {key: mean for key, mean in means.items() if mean is not None or key == "train_seconds"}
    return {**known, "samples_per_second": mean_of(speeds), "metrics": _means(s.get("metrics") for s in summaries)}


def mean_of(values: Any) -> float | None:
    known = [x for value in values if (x := number(value)) is not None]
    return math.fsum(known) / len(known) if known else None


def _means(mappings: Any) -> dict[str, Any]:
    """Key by key the mean of several mappings, to any depth."""
    known = [mapping for mapping in mappings if isinstance(mapping, Mapping)]
    means: dict[str, Any] = {}
    for key in dict.fromkeys(key for mapping in known for key in mapping):
        found = [mapping[key] for mapping in known if key in mapping]
        means[key] = _means(found) if isinstance(found[0], Mapping) else mean_of(found)
    return means


def with_nan(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
