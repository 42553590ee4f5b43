"""What a search found: each setting against the base, main effects and interactions of the keys, and the best setting.

The best is chosen on the validation examples, by the mean over seeds; what is said of it comes from test examples and,
after confirmation, from seeds that the choice has not seen.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headwise.lab.comparison.compare import found
from headwise.lab.comparison.results import csv_text, limits_of
from headwise.lab.comparison.rules import ONCE, Rule
from headwise.lab.comparison.verdicts import MetricBounds
from headwise.lab.outputs import CONFIRMATION, SEARCH, run_directory
from headwise.lab.records import Run, number, read_run
from headwise.lab.statistics import UNLIMITED, mean_interval
from headwise.lab.sweep.plan import Sweep
from headwise.lab.sweep.space import shown, value_of

Plain = Mapping[str, Any]
MOST_CELLS = 12
"""Values of a key up to which its interactions are drawn; more come from an interval, where each occurs once."""


def search_results(planned: Sweep, failures: Mapping[Path, str], rule: Rule = ONCE) -> dict[str, Any]:
    """What the runs of the search found, without the best setting, where and how: the content of a comparison.json
    whose arms are the settings and whose pairs are each of them with the base, and beside it what concerns the keys."""
    together, *apart = planned.plans
    base = planned.settings.base
    tested = [(label, base) for label in together.arms if label != base]
    result = found(together, failures, rule, tested)
    bounds = dict.fromkeys(together.arms, result)
    for plan in apart:
        own = found(plan, failures, ONCE, [])
        result["arms"] |= own["arms"]
        bounds |= dict.fromkeys(plan.arms, own)
    space, values = planned.space, planned.settings.values
    arms = {
        label: arm
        | {"floor": bounds[label]["floor"], "ceiling": bounds[label]["ceiling"], "tested": bounds[label] is result}
        | _validation(planned, label, result)
        | {"keys": dict(zip(space.keys, values[label], strict=True)) if label in values else {}}
        for label, arm in result["arms"].items()
    }
    result |= {
        "arms": arms,
        "base": base,
        "keys": dict(zip(space.keys, space.names, strict=True)),
        "left_out": planned.settings.left_out,
        "given_up": sorted(planned.given_up),
        "normalised": bool(apart),
    }
    return result | {"effects": main_effects(result), "interactions": interactions(result)}


def _validation(planned: Sweep, label: str, result: Plain) -> dict[str, Any]:
    """The validation values of a setting, and their mean where every seed has one."""
    runs = [read_run(run_directory(planned.output / SEARCH, label, seed)) for seed in planned.seeds]
    values = [validation_value(run, result["metric"], result["higher_is_better"]) for run in runs]
    known = [value for value in values if value is not None]
    return {
        "validation": values,
        "validation_mean": math.fsum(known) / len(known) if len(known) == len(values) else None,
    }


def validation_value(run: Run, metric: str, higher_is_better: bool) -> float | None:
    """The primary metric on the validation examples at the update whose weights were kept; None if unfinished."""
    if not run.summary:
        return None
    at = dict(zip(*run.curve(metric), strict=True))
    kept = number(run.summary.get("selected_update"))
    if kept in at:
        return at[kept]
    return (max if higher_is_better else min)(at.values(), default=None)


def best_setting(result: Plain) -> str | None:
    """The setting with the best validation mean among those that are tested; the base if nothing is better."""
    known = {
        label: arm["validation_mean"]
        for label, arm in result["arms"].items()
        if arm["tested"] and arm["validation_mean"] is not None
    }
    # The base comes first, and first is who is not surpassed
    return (max if result["higher_is_better"] else min)(known, key=lambda label: known[label]) if known else None


def main_effects(result: Plain) -> list[dict[str, Any]]:
    """For each key and value the mean over seeds and over all settings that have it, with an interval.

    As seeds are paired, what they have in common is taken out of it: it is the t interval of the deviations from each
    seed's mean over the J values, times sqrt(J / (J - 1)) for their own share in that mean (Cousineau 2005, Morey
    2008). Where settings have test examples of their own, of normalised scores.
    """
    limits = UNLIMITED if result["normalised"] else limits_of(result["metric_range"])
    effects = []
    for key, name in result["keys"].items():
        labels = _by_value(result, key)
        scores = {text: _over_settings(result, own) for text, own in labels.items()}
        whole = [column for column in zip(*scores.values(), strict=True) if None not in column]
        common = [math.fsum(column) / len(column) for column in whole]
        points = []
        for place, (text, own) in enumerate(labels.items()):
            known = [score for score in scores[text] if score is not None]
            mean = math.fsum(known) / len(known) if known else None
            apart = [column[place] - middle for column, middle in zip(whole, common, strict=True)]
            interval, wider = mean_interval(apart).interval, math.sqrt(len(scores) / max(len(scores) - 1, 1))
            if interval is not None and mean is not None and len(scores) > 1:
                half = wider * (interval[1] - interval[0]) / 2
                interval = (max(mean - half, limits[0]), min(mean + half, limits[1]))
            point = {"value": text, "shown": shown(value_of(key, text)), "settings": len(own), "mean": mean}
            points.append(point | {"interval": interval if len(scores) > 1 else None})
        effects.append({"key": key, "name": name, "points": points})
    return effects


def interactions(result: Plain) -> list[dict[str, Any]]:
    """For each pair of keys the mean over all settings with each pair of their values; None where there is none."""
    found_maps = []
    by_key = {key: _by_value(result, key) for key in result["keys"]}
    for first, second in itertools.combinations(by_key, 2):
        rows, columns = by_key[first], by_key[second]
        if not (1 < len(rows) <= MOST_CELLS and 1 < len(columns) <= MOST_CELLS):
            continue
        cells = [
            [_cell(result, [label for label in own if label in others]) for others in columns.values()]
            for own in rows.values()
        ]
        found_maps.append(
            {
                "names": [result["keys"][first], result["keys"][second]],
                "values": [
                    [shown(value_of(key, text)) for text in values]
                    for key, values in ((first, rows), (second, columns))
                ],
                "means": cells,
            }
        )
    return found_maps


def _by_value(result: Plain, key: str) -> dict[str, list[str]]:
    """The settings by their value of a key; numbers in their order, others as they came."""
    found_values: dict[str, list[str]] = {}
    for label, arm in result["arms"].items():
        if key in arm["keys"]:
            found_values.setdefault(arm["keys"][key], []).append(label)
    as_numbers = {text: number(value_of(key, text)) for text in found_values}
    if None in as_numbers.values():
        return found_values
    return {text: found_values[text] for text in sorted(found_values, key=lambda text: as_numbers[text] or 0.0)}


def _over_settings(result: Plain, labels: Sequence[str]) -> list[float | None]:
    """For each seed the mean over settings; None where one of them has no value."""
    columns = zip(*(_scores(result, label) for label in labels), strict=True)
    whole = ([value for value in column if value is not None] for column in columns)
    return [math.fsum(values) / len(values) if len(values) == len(labels) else None for values in whole]


def _cell(result: Plain, labels: Sequence[str]) -> float | None:
    values = [value for value in _over_settings(result, labels) if value is not None] if labels else []
    return math.fsum(values) / len(values) if values else None


def _scores(result: Plain, label: str) -> list[float | None]:
    arm = result["arms"][label]
    if not result["normalised"]:
        return list(arm["values"])
    bounds = MetricBounds(arm["floor"], arm["ceiling"], result["higher_is_better"])
    return [bounds.normalised(value) for value in arm["values"]]


def table(result: Plain) -> str:
    """One row for each run, those of the confirmation last, as CSV."""
    keys = list(result["keys"])
    parts = [("search", result["seeds"], result["arms"])]
    if confirmed := result["confirmation"]:
        parts.append((CONFIRMATION, confirmed["seeds"], confirmed["arms"]))
    rows = []
    for stage, seeds, arms in parts:
        for label, arm in arms.items():
            setting = result["arms"][label]
            own = [setting["keys"].get(key) for key in keys]
            ends = [setting["floor"], setting["ceiling"], setting["parameters"], setting["flops_per_example"]]
            for place, seed in enumerate(seeds):
                validation = setting["validation"][place] if stage == "search" else None
                run = [label, *own, stage, seed, arm["values"][place], validation]
                quick = str(bool(result["quick"])).lower()
                rows.append([result["task"], result["metric"], *run, *ends, quick, arm["failures"].get(str(seed))])
    columns = ["task", "metric", "setting", *keys, "stage", "seed", "value", "validation", "floor", "ceiling"]
    return csv_text([*columns, "parameters", "flops_per_example", "quick", "failure"], rows)
