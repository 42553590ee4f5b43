"""The results of a scaling as files: scaling.json, scaling.csv, and for mazes those of the benchmark that it follows.

That benchmark's notebook reads `scaling_results_maze{N}.json` and `huge_benchmark_maze{N}.json`. Its accuracy is the
share of mazes whose goal is reached, its optimality the share walked in the fewest moves, both in per cent; its `poh`
is the routed arm.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from headwise.files import write_json, write_text
from headwise.lab.outputs import SCALING, SCALING_TABLE
from headwise.lab.scaling.results import metrics_of

Plain = Mapping[str, Any]
REACHED, OPTIMAL = "reached", "optimal"
COLUMNS = (
    "task",
    "size",
    "arm",
    "seed",
    "parameters",
    "parameters_in_all",
    "flops_per_example",
    "train_seconds",
    "peak_memory",
)


def write_results(output: Path, result: Plain) -> None:
    """Write every file of a scaling but its report."""
    write_json(output / SCALING, result)
    write_text(output / SCALING_TABLE, table(result))
    for name, content in benchmark_files(result).items():
        write_json(output / name, content)


def table(result: Plain) -> str:
    """One row for each run, as CSV."""
    names = metrics_of(result["sizes"])
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*COLUMNS, *names, "floor", "ceiling", "quick", "failure"])
    for size, content in result["sizes"].items():
        for label, arm in content["arms"].items():
            shape = [arm["parameters"], arm["parameters_in_all"], arm["flops_per_example"]]
            for place, seed in enumerate(content["seeds"]):
                cost = [arm["train_seconds_by_seed"][place], arm["peak_memory_by_seed"][place]]
                values = [arm["metrics_by_seed"].get(name, {place: None})[place] for name in names]
                ends = [content["floor"], content["ceiling"], str(bool(result["quick"])).lower()]
                ends.append(arm["failures"].get(str(seed)))
                row = [result["task"], size, label, seed, *shape, *cost, *values, *ends]
                rows.writerow(["" if entry is None else entry for entry in row])
    return text.getvalue()


def benchmark_files(result: Plain) -> dict[str, dict[str, Any]]:
    """Names and contents of the benchmark's files; none where it is not mazes, or its two metrics were not measured."""
    side = (result.get("task_config") or {}).get("size")
    if result.get("task") != "maze" or side is None:
        return {}
    rows = {size: row for size, content in result["sizes"].items() if (row := _row(size, content)) is not None}
    if not rows:
        return {}
    first = _config(result, side, result["sizes"][next(iter(rows))])
    files = {f"scaling_results_maze{side}.json": {"config": first, "results": list(rows.values())}}
    if "huge" in rows:
        config = _config(result, side, result["sizes"]["huge"])
        files[f"huge_benchmark_maze{side}.json"] = _huge(result, config, rows["huge"])
    return files


def routed_arm(arms: Mapping[str, Plain]) -> str | None:
    """The arm that stands for the benchmark's `poh`: the first with a router, else the second one."""
    others = list(arms)[1:]
    return next((label for label in others if arms[label]["arm"]["router"]["name"] != "none"), next(iter(others), None))


def _row(size: str, content: Plain) -> dict[str, Any] | None:
    """A row of the benchmark; None where one of the two arms has no result."""
    arms: Mapping[str, Plain] = content["arms"]
    label = routed_arm(arms)
    if label is None:
        return None
    baseline, routed = next(iter(arms.values())), arms[label]
    found = [_percent(arm, metric) for arm in (baseline, routed) for metric in (REACHED, OPTIMAL)]
    known = [value for value in found if value is not None]
    if len(known) < len(found):
        return None
    accuracy, optimality, routed_accuracy, routed_optimality = known
    shape, narrow = baseline["model"], routed["model"]
    return {
        "size": size,
        "baseline_d_model": shape["width"],
        "baseline_n_heads": shape["heads"],
        "baseline_d_ff": shape["ffn"],
        "baseline_depth": shape["depth"],
        "poh_d_model": narrow["width"],
        "poh_n_heads": narrow["heads"],
        "poh_depth": narrow["depth"],
        "baseline_params": baseline["parameters_in_all"],
        "baseline_acc": accuracy,
        "baseline_opt": optimality,
        "poh_params": routed["parameters_in_all"],
        "poh_acc": routed_accuracy,
        "poh_opt": routed_optimality,
        "param_ratio": 100 * routed["parameters_in_all"] / baseline["parameters_in_all"],
        "poh_advantage_acc": routed_accuracy - accuracy,
        "poh_advantage_opt": routed_optimality - optimality,
    }


def _config(result: Plain, side: int, size: Plain) -> dict[str, Any]:
    arm = size["arms"][routed_arm(size["arms"])]
    routed = arm["arm"]
    return {
        "maze_size": side,
        "n_train": result["train_examples"],
        "n_test": result["test_examples"],
        "epochs": round(arm["examples"] / result["train_examples"]),  # several updates may share a batch
        "R": routed["refinement"]["steps"],
        "T": routed["controller"].get("period"),
        "seed": size["seeds"][0],
    }


def _huge(result: Plain, config: Plain, row: Plain) -> dict[str, Any]:
    own = {key: config[key] for key in ("maze_size", "n_train", "n_test", "epochs")}
    own |= {"batch_size": result["training"]["batch_size"], "R": config["R"], "T": config["T"]}
    shape = {key: row[f"baseline_{key}"] for key in ("d_model", "n_heads", "d_ff", "depth")}
    return {
        "config": own | {"device": result["how"]["device"]} | shape,
        "baseline": {
            "params": row["baseline_params"],
            "accuracy": row["baseline_acc"],
            "optimality": row["baseline_opt"],
        },
        "poh": {
            "params": row["poh_params"],
            "depth": row["poh_depth"],
            "accuracy": row["poh_acc"],
            "optimality": row["poh_opt"],
            "param_ratio": row["param_ratio"] / 100,
        },
    }


def _percent(arm: Plain, metric: str) -> float | None:
    """Mean over the seeds of a share, in per cent."""
    known = [value for value in arm["metrics_by_seed"].get(metric, []) if value is not None]
    return 100 * fmean(known) if known else None
