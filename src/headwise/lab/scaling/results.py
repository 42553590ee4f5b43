"""What a scaling found: the comparisons of its sizes side by side, and the advantage of each arm over the first."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from headwise.lab.comparison.headlines import QUICK
from headwise.lab.outputs import MEMORY, run_directory
from headwise.lab.records import distinct, found_comparison, number, read_run, readable_mapping
from headwise.lab.statistics import mean_interval
from headwise.models.sizes import SIZES
from headwise.tasks import entry

Plain = Mapping[str, Any]
TASK_KEYS = ("task", "task_summary", "task_config", "training", "metric", "higher_is_better", "quick")
SIZE_KEYS = ("seeds", "updates", "examples", "parity", "floor", "ceiling", "references", "references_by_metric")


def summarise(output: Path, second: str | None = None) -> dict[str, Any]:
    """The content of scaling.json, without `how`, from the comparisons in the directories of the sizes.

    Args:
        output: of the scaling.
        second: the metric beside the primary one, shown without values if no run measured it; default the first other
            one that the runs measured.
    """
    found = {size: found_comparison(output / size) for size in SIZES}
    sizes = {size: _size(output / size, result) for size, result in found.items() if result}
    first: Plain = next((result for result in found.values() if result), {})
    lower = entry(first["task"]).task.lower_is_better if first else frozenset()
    metric = first.get("metric")
    others = (name for name in metrics_of(sizes) if name != metric)
    metrics = [name for name in (metric, second or next(others, None)) if name is not None]
    return {
        **{key: first.get(key) for key in TASK_KEYS},
        "parity": {key: first.get("parity", {}).get(key) for key in ("mode", "matched", "tolerance")},
        "arms": list(dict.fromkeys(label for size in sizes.values() for label in size["arms"])),
        "metrics": metrics,
        "headline": QUICK if first.get("quick") else "; ".join(f"{n}: {size['headline']}" for n, size in sizes.items()),
        "sources": distinct(source for result in found.values() for source in result.get("sources") or ()),
        "sizes": sizes,
        "advantage": {name: _advantages(sizes, name, name not in lower, metric) for name in metrics},
        "directory": str(output),
    }


def metrics_of(sizes: Mapping[str, Plain]) -> list[str]:
    """Every metric that a run measured, in the task's order."""
    return list(
        dict.fromkeys(n for size in sizes.values() for arm in size["arms"].values() for n in arm["metrics_by_seed"])
    )


def _size(directory: Path, result: Plain) -> dict[str, Any]:
    return {
        "directory": directory.name,
        "headline": result["headline"],
        **{key: result.get(key) for key in SIZE_KEYS},
        "arms": {label: _arm(directory, label, arm, result["seeds"]) for label, arm in result["arms"].items()},
        "pairs": result["pairs"],
    }


def _arm(directory: Path, label: str, arm: Plain, seeds: Sequence[int]) -> dict[str, Any]:
    runs = [run_directory(directory, label, seed) for seed in seeds]
    summaries = [read_run(run).summary for run in runs]
    names = list(dict.fromkeys(name for summary in summaries for name in summary.get("metrics") or {}))
    peaks = [number(readable_mapping(run / MEMORY).get("peak_bytes")) for run in runs]
    known = [peak for peak in peaks if peak is not None]
    whole = [count for summary in summaries if (count := number(summary.get("parameters"))) is not None]
    return {
        **arm,
        "parameters_in_all": round(whole[0]) if whole else None,
        "peak_memory": max(known) if known else None,
        "metrics_by_seed": {name: [number((s.get("metrics") or {}).get(name)) for s in summaries] for name in names},
        "train_seconds_by_seed": [number(summary.get("train_seconds")) for summary in summaries],
        "peak_memory_by_seed": peaks,
    }


def _advantages(sizes: Mapping[str, Plain], metric: str, higher: bool, primary: str | None = None) -> dict[str, Any]:
    """Advantage of each arm over the first one: at each size, on average, and where it is largest. Seeds are paired.

    At each size of the `primary` metric the interval is that of the pair's verdict.
    """
    sign = 1 if higher else -1
    found: dict[str, Any] = {}
    for size, content in sizes.items():
        reference, *others = content["arms"]
        for label in others:
            values = [content["arms"][arm]["metrics_by_seed"].get(metric, []) for arm in (label, reference)]
            pairs = [(a, b) for a, b in zip(*values, strict=False) if a is not None and b is not None]
            if pairs:
                mean = mean_interval([sign * (a - b) for a, b in pairs])
                ends = [p["interval"] for p in content.get("pairs", []) if (p["a"], p["b"]) == (label, reference)]
                if metric == primary and ends and ends[0]:  # of this one the noise of the test examples is known too
                    mean = replace(mean, interval=tuple(sorted(sign * end for end in ends[0])))
                by_size = found.setdefault(label, {"over": reference, "by_size": {}})["by_size"]
                by_size[size] = {"advantage": mean.mean, "interval": mean.interval, "seeds": mean.n}
    for arm in found.values():
        by_size = {size: entry["advantage"] for size, entry in arm["by_size"].items()}
        arm["average"] = fmean(by_size.values())
        arm["best_size"] = max(by_size, key=lambda size: by_size[size])
    return found
