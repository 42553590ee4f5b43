"""The content of ood.json: at each point every arm between floor and ceiling of its test set, what is left of what
it gained in distribution, and verdicts between arms.

Of the normalised score s = (score - floor) / (ceiling - floor), each with floor and ceiling of its own test set,

    kept = s(point) / s(neutral)        loss = 1 - kept

Where a ceiling is not known, as for open text, s is the gain over the floor in units of the metric.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from headwise.files import finite
from headwise.lab.comparison.headlines import QUICK
from headwise.lab.comparison.results import (
    by_test_set,
    compare_arms,
    corrected,
    every_pair,
    limits_of,
    mean_of,
    with_nan,
)
from headwise.lab.comparison.verdicts import MEANINGFUL, MetricBounds, verdict
from headwise.lab.formatting import format_percent, join_words
from headwise.lab.names import short_names, with_short_names
from headwise.lab.ood.axes import Axis, label
from headwise.lab.ood.measure import Measured
from headwise.lab.ood.runs import Runs
from headwise.lab.records import Run
from headwise.lab.statistics import Mean, Pair, mean_interval
from headwise.schema import to_plain

Plain = dict[str, Any]
IN_SCORE, IN_GAIN = "normalised score", "gain over the floor"


@dataclass(frozen=True)
class Point:
    """A value of an axis, measured.

    Attributes:
        measured: by label and seed of the run.
        left_out: why a run could not be measured, by its name.
    """

    value: Any
    measured: Mapping[tuple[str, int], Measured] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


class Judged:
    """What a point says by itself, before the points of an axis are corrected together.

    Args:
        point: what was measured.
        runs: all of them.
    """

    def __init__(self, point: Point, runs: Runs) -> None:
        task = runs.first.entry.task
        self.point, limits = point, limits_of(finite(task.metric_range))
        found = {(one, seed): _record(point.measured.get((one, seed))) for one in runs.labels for seed in runs.seeds}
        known = list(point.measured.values())
        self.bounds = MetricBounds(
            mean_of(one.floor for one in known), mean_of(one.ceiling for one in known), task.higher_is_better
        )
        self.values = {one: [found[one, seed].summary.get("value") for seed in runs.seeds] for one in runs.labels}
        self.means = {
            one: mean_interval(with_nan(values), [own for (own,) in by_test_set([one], found, runs.seeds)], limits)
            for one, values in self.values.items()
        }
        self.pairs = (
            compare_arms(every_pair(runs.labels), self.values, found, runs.seeds, limits, bootstrap=False)
            if known
            else []
        )
        self.examples = max((len(one.values) for one in known), default=0)

    def score(self, arm: str) -> float | None:
        """The mean of an arm as a normalised score, or as its gain over the floor where no ceiling is known."""
        mean, floor = self.means[arm], self.bounds.floor
        if mean.n == 0 or floor is None:
            return None
        if self.bounds.length is not None:
            return self.bounds.normalised(mean.mean)
        return mean.mean - floor if self.bounds.higher_is_better else floor - mean.mean


def summarise(
    runs: Runs, axes: Sequence[Axis], neutral: Judged, points: Mapping[str, Sequence[Judged]], notes: Sequence[str]
) -> Plain:
    """The content of ood.json, without `how`.

    Args:
        axes: in the order in which they are shown.
        neutral: the runs on their own test sets, unchanged.
        points: those of each axis that are measured, without the neutral one.
        notes: what else is to be said.
    """
    config, task = runs.first, runs.first.entry.task
    found = {axis.name: _axis(axis, neutral, points.get(axis.name, ()), runs) for axis in axes}
    content = {
        "task": config.entry.name,
        "task_summary": config.entry.summary,
        "task_config": {key: value for key, value in config.to_plain()["task"].items() if key != "name"},
        "metric": task.metric,
        "metric_range": finite(task.metric_range),
        "higher_is_better": task.higher_is_better,
        "quick": config.quick,
        "headline": QUICK,
        "lead": [],
        "seeds": runs.seeds,
        "arms": {
            one.label: {
                "directories": [str(run.directory) for run in runs.runs if run.label == one.label],
                "model": to_plain(one.config.model),
                "arm": one.config.to_plain()["arm"],
            }
            for one in (next(run for run in runs.runs if run.label == label_) for label_ in runs.labels)
        },
        "score": IN_GAIN if neutral.bounds.length is None else IN_SCORE,
        "axes": found,
        "left_out": list(runs.left_out),
        "notes": list(notes),
    }
    if not config.quick:
        spoken = with_short_names(content)
        content |= {"headline": _headline(spoken["axes"], list(spoken["arms"])), "lead": _decided(spoken["axes"])}
    return content


def _axis(axis: Axis, neutral: Judged, measured: Sequence[Judged], runs: Runs) -> Plain:
    """One axis: its points are one family of tests, the neutral one among them."""
    by_label = {label(one.point.value): one for one in measured} | {label(axis.neutral): neutral}
    judged = [(value, by_label[label(value)]) for value in axis.points if label(value) in by_label]
    limits = limits_of(finite(runs.first.entry.task.metric_range))
    every = iter(corrected([pair for _, one in judged for pair in one.pairs], limits))
    return {
        "about": axis.about,
        "of": axis.of,
        "neutral": axis.neutral,
        "points": [
            _point(value, one, [next(every) for _ in one.pairs], neutral, runs) | {"is_neutral": one is neutral}
            for value, one in judged
        ],
    }


def _point(value: Any, own: Judged, pairs: Sequence[Pair], neutral: Judged, runs: Runs) -> Plain:
    names = short_names(runs.labels)
    said = [
        verdict(
            replace(pair, a=names[pair.a], b=names[pair.b]),
            (own.means[pair.a], own.means[pair.b]),
            own.bounds,
            runs.first.quick,
        )
        for pair in pairs
    ]
    return {
        "value": value,
        "label": label(value),
        "floor": own.bounds.floor,
        "ceiling": own.bounds.ceiling,
        "examples": own.examples,
        "arms": {one: _arm(one, own, neutral) for one in runs.labels},
        "pairs": [
            asdict(pair) | {"kind": one.kind, "verdict": one.sentence} for pair, one in zip(pairs, said, strict=True)
        ],
        "left_out": dict(own.point.left_out),
    }


def _arm(arm: str, own: Judged, neutral: Judged) -> Plain:
    mean: Mean = own.means[arm]
    here, before = own.score(arm), neutral.score(arm)
    # Of next to nothing no share is left
    least = MEANINGFUL if neutral.bounds.length is not None else 0.0
    kept = None if here is None or before is None or before <= least else here / before
    return {
        "values": own.values[arm],
        "mean": None if mean.n == 0 else mean.mean,
        "interval": mean.interval,
        "normalised": own.bounds.normalised(mean.mean) if mean.n else None,
        "kept": kept,
        "loss": None if kept is None else 1 - kept,
    }


def _record(measured: Measured | None) -> Run:
    """A run as a comparison reads it, with what it did here."""
    if measured is None:
        return Run(Path())
    summary = {"value": measured.value, "test_fingerprint": measured.fingerprint}
    return Run(Path(), summary=summary, test_values=measured.values)


def _headline(axes: Mapping[str, Plain], labels: Sequence[str]) -> str:
    """Where each arm keeps least of what it gains in distribution."""
    said = []
    for arm in labels:
        points = [
            (kept, name, point["label"])
            for name, axis in axes.items()
            for point in axis["points"]
            if (kept := point["arms"][arm]["kept"]) is not None and not point["is_neutral"]
        ]
        if points:
            kept, name, value = min(points)
            said.append(f"{arm} keeps least at {name} {value}, {format_percent(kept)}")
    if not said:
        return "Nothing can be said of what is kept: no arm rises above the floor at the neutral point"
    trained = any(axis["of"] == "training" for axis in axes.values())
    return f"Of the gain over the floor {'with most examples' if trained else 'in distribution'}, {join_words(said)}"


def _decided(axes: Mapping[str, Plain]) -> list[str]:
    """For each pair of arms, at how many points beside the neutral ones it was decided."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for axis in axes.values():
        for point in axis["points"]:
            for pair in point["pairs"]:
                if not point["is_neutral"] and pair["n"]:
                    pairs.setdefault((pair["a"], pair["b"]), []).append(pair["kind"])
    return [
        f"{a} is better than {b} at {kinds.count('better')} of {len(kinds)} points, worse at {kinds.count('worse')}."
        for (a, b), kinds in pairs.items()
    ]
