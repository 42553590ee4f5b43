"""A fair comparison: arms of one size, the same data and recipe, paired seeds; then statistics and an honest verdict.

output/comparison.json, comparison.csv, report.html, plan.json, runs/<arm>/seed<k>/ (each a run directory)
"""

import csv
import io
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headwise.errors import InputError
from headwise.lab.cells import RUNS, Cell, Train, folder, run_cells
from headwise.lab.outputs import PLAN, refuse
from headwise.lab.parity import Mode, Parity, match
from headwise.lab.records import COMPARISON, Run, number, read_json, read_run, write_json, write_text
from headwise.lab.report import write_report
from headwise.lab.statistics import Pair, compare_pair, holm, mean_interval
from headwise.lab.verdicts import Scale, headline, standing, verdict
from headwise.schema import to_plain
from headwise.tasks.base import TaskData
from headwise.training.config import RunConfig, differences
from headwise.training.run import data_of

TABLE = "comparison.csv"
# Arms may differ in these; everything else of a run, data and recipe above all, is shared.
OF_AN_ARM = ("arm", "model", "name")
PACKAGES = ("headwise", "torch", "numpy", "scipy")


def compare(
    arms: Sequence[tuple[str, RunConfig]],
    seeds: int | Sequence[int] = 3,
    parity: Mode = "parameters",
    output: Path | str | None = None,
    jobs: int | None = None,
    train: Train | None = None,
) -> dict[str, Any]:
    """Train every arm with every seed and say what can be said.

    A comparison that was stopped goes on where it was when called again with the same output; more seeds or arms may be
    added the same way. A failed cell is named in the result and leaves its directory readable.

    Args:
        arms: label and configuration of each arm, the reference first. They may differ in `arm`, `model` and
            `training.preset`, the learning rates.
            `headwise.training.configuration.load_arms(["baseline", "hrm:refinement.steps=12"])` makes this list.
        seeds: how many, counted from the configurations' own seed, or which. Seed k gives every arm the same data.
        parity: what is made equal; see `headwise.lab.parity.match`.
        output: directory of the comparison; default a new one in `runs/`.
        jobs: processes side by side, which share the cores; default one for each core, 1 on an accelerator.
        train: what trains one configuration; default `headwise.training.run.train`.

    Returns:
        the content of comparison.json.

    Raises:
        InputError: arms that differ in more, that parity cannot match, or an output that holds another comparison,
            a scaling or a run. Nothing has been written then.
    """
    began = time.perf_counter()
    planned = plan(arms, seeds, parity, output)
    refuse(planned.output, ["a scaling", "a run"])
    jobs, threads = share_cores(jobs, len(planned.cells), planned.base)
    keep_plan(planned.output, planned.arms)
    failures = run_cells(planned.cells, train or default_train(), jobs, threads)
    return conclude(planned, failures, circumstances(planned.base, jobs, threads, time.perf_counter() - began))


@dataclass(frozen=True)
class Plan:
    """A comparison that may be made: every arm with its size, and a cell for each arm and seed.

    Attributes:
        base: the first arm's configuration as it was given.
        arms: configurations by label, each with the shape that parity gave it.
    """

    base: RunConfig
    seeds: list[int]
    sized: Parity
    arms: dict[str, RunConfig]
    cells: list[Cell]
    output: Path


def plan(
    arms: Sequence[tuple[str, RunConfig]],
    seeds: int | Sequence[int] = 3,
    parity: Mode = "parameters",
    output: Path | str | None = None,
    length: int | None = None,
) -> Plan:
    """What `compare` would train, refused as it would be; writes nothing.

    Args:
        length: tokens of an example, if it is known already; else the data are asked.
    """
    seeds = _seeds(seeds, arms)
    check_alike(arms)
    base = arms[0][1]
    output = Path(output) if output else new_directory(base, "compare")
    shapes = [(label, config.arm, config.model) for label, config in arms]
    sized = match(shapes, length or length_of(base, data_of(base)), parity, base.entry.task.causal)
    shaped = {
        label: replace(config, model=one.model, name=label)
        for one, (label, config) in zip(sized.arms, arms, strict=True)
    }
    cells = [
        Cell(label, seed, replace(config, seed=seed), output / RUNS / folder(label) / f"seed{seed}")
        for seed in seeds
        for label, config in shaped.items()
    ]
    return Plan(base, seeds, sized, shaped, cells, output)


def conclude(planned: Plan, failures: Mapping[Path, str], how: Mapping[str, Any]) -> dict[str, Any]:
    """Read the runs of a comparison back, write comparison.json, the table and the report, and return the first.

    Args:
        failures: what went wrong, by the cell's directory.
        how: date, command, machine; see `circumstances`.
    """
    runs = {(cell.label, cell.seed): read_run(cell.directory) for cell in planned.cells}
    failed = {(cell.label, cell.seed): failures[cell.directory] for cell in planned.cells if cell.directory in failures}
    result = summarise(runs, planned.seeds, planned.sized, failed, _facts(planned.base))
    for label, config in planned.arms.items():
        result["arms"][label]["preset"] = config.to_plain()["training"]["preset"]
    result["directory"] = str(planned.output)
    result["how"] = dict(how)
    write_json(planned.output / COMPARISON, result)
    write_text(planned.output / TABLE, _csv(result))
    write_report(planned.output)
    return read_json(planned.output / COMPARISON)


def summarise(
    runs: Mapping[tuple[str, int], Run],
    seeds: Sequence[int],
    sized: Parity,
    failures: Mapping[tuple[str, int], str],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """From run directories to the content of comparison.json, without `how`.

    Args:
        runs: by (label, seed); a run without a summary counts as missing.
        failures: what went wrong, by (label, seed).
        facts: `task`, `metric`, `higher_is_better` and whatever else of the task the report shows.
    """
    labels = [one.label for one in sized.arms]
    summaries = [run.summary for run in runs.values() if run.summary]
    first = summaries[0] if summaries else {}
    floor, ceiling = (_mean(summary.get(key) for summary in summaries) for key in ("floor", "ceiling"))
    scale = Scale(floor, ceiling, bool(facts["higher_is_better"]))
    values = {label: [number(runs[label, seed].summary.get("value")) for seed in seeds] for label in labels}
    means = {label: mean_interval(_with_nan(values[label])) for label in labels}
    pairs = _pairs(labels, values, runs, seeds)
    verdicts = [verdict(pair, (means[pair.a], means[pair.b]), scale) for pair in pairs]
    return {
        **facts,
        "floor": floor,
        "ceiling": ceiling,
        "references": _means(summary.get("references") for summary in summaries),
        "references_by_metric": _means(summary.get("references_by_metric") for summary in summaries),
        "headline": headline(verdicts, labels[0]),
        "seeds": list(seeds),
        "updates": first.get("updates"),
        "examples": first.get("examples"),
        "parity": sized.to_plain(),
        "arms": {
            one.label: {
                "values": values[one.label],
                "mean": means[one.label].mean,
                "interval": means[one.label].interval,
                "standing": standing(means[one.label], scale),
                "parameters": one.size.parameters,
                "parameter_ratio": one.parameter_ratio,
                "flops_per_example": one.size.flops,
                "flops_ratio": one.flops_ratio,
                **_of_runs([runs[one.label, seed].summary for seed in seeds]),
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


def _pairs(
    labels: Sequence[str],
    values: Mapping[str, Sequence[float | None]],
    runs: Mapping[tuple[str, int], Run],
    seeds: Sequence[int],
) -> list[Pair]:
    """Every arm against the first, then the others among themselves; p values corrected for all of them."""
    order = [(a, labels[0]) for a in labels[1:]]
    order += [(a, b) for i, b in enumerate(labels[1:], 1) for a in labels[i + 1 :]]
    pairs = [
        compare_pair(a, b, (_with_nan(values[a]), _with_nan(values[b])), _examples(a, b, runs, seeds)) for a, b in order
    ]
    corrected = holm([pair.p_paired for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]


def _examples(a: str, b: str, runs: Mapping[tuple[str, int], Run], seeds: Sequence[int]) -> NDArray[np.float32] | None:
    """a - b for each test example.

    Where seeds share their test examples, the mean over those seeds: an example counts once. Where each seed draws its
    own, those of all seeds stand side by side.
    """
    of_a_set: dict[str, list[NDArray[np.float32]]] = {}
    for seed in seeds:
        ours, theirs = runs[a, seed], runs[b, seed]
        x, y = ours.test_values, theirs.test_values
        if x is not None and y is not None and len(x) == len(y):
            drawn = str(ours.summary.get("test_fingerprint", f"seed {seed}"))
            of_a_set.setdefault(drawn, []).append(x - y)
    return np.concatenate([np.mean(found, axis=0) for found in of_a_set.values()]) if of_a_set else None


def _of_runs(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the seeds of what a run's summary says beside its value; absent where no seed knows it."""
    speeds = [
        examples / seconds
        for summary in summaries
        if (examples := number(summary.get("examples"))) and (seconds := number(summary.get("train_seconds")))
    ]
    keys = ["updates", "examples", "flops_per_example", "train_seconds"]
    keys += ["refinement_steps_mean", "heads_active_mean", "heads_executed_mean"]
    means = {key: _mean(summary.get(key) for summary in summaries) for key in keys}
    known = {key: mean for key, mean in means.items() if mean is not None or key == "train_seconds"}
    return {**known, "samples_per_second": _mean(speeds), "metrics": _means(s.get("metrics") for s in summaries)}


def _seeds(seeds: int | Sequence[int], arms: Sequence[tuple[str, RunConfig]]) -> list[int]:
    if not arms:
        raise InputError("arms=[]: name at least one arm")
    chosen = [arms[0][1].seed + i for i in range(seeds)] if isinstance(seeds, int) else list(seeds)
    if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise InputError(f"seeds={seeds}: choose how many (1 or more), or different whole numbers from 0 on")
    return chosen


def check_alike(arms: Sequence[tuple[str, RunConfig]]) -> None:
    """Refuse arms that differ in more than `OF_AN_ARM`, or that would share a directory."""
    (first, base), labels = arms[0], [label for label, _ in arms]
    if len({folder(label) for label in labels}) < len(labels):
        raise InputError(f"arms={','.join(labels)}: two arms need two names (apart from punctuation)")
    shared = _shared(base)
    for label, config in arms[1:]:
        for key, ours, theirs in differences(shared, _shared(config)):
            raise InputError(f"{key}={theirs} in arm {label} but {ours} in {first}: arms of a comparison share {key}")


def _shared(config: RunConfig) -> dict[str, Any]:
    """All that arms have in common: learning rates may be what is compared, and are then part of an arm's label."""
    plain = {key: value for key, value in config.to_plain().items() if key not in OF_AN_ARM}
    return plain | {"training": {key: value for key, value in plain["training"].items() if key != "preset"}}


def keep_plan(output: Path, arms: Mapping[str, RunConfig]) -> None:
    """Write down what the runs of this directory are made of, and refuse to mix them with runs of another making."""
    old = read_json(output / PLAN)
    changing = ("seed", "output", "device", "cache", "name")
    new = {
        folder(label): {key: value for key, value in config.to_plain().items() if key not in changing}
        for label, config in arms.items()
    }
    for name in old.keys() & new.keys():
        for key, before, after in differences(old[name], new[name]):
            raise InputError(
                f"output={output}: holds runs of {name} with {key}={before}, now {after}; choose another output"
            )
    write_json(output / PLAN, {**old, **new})


def share_cores(jobs: int | None, cells: int, base: RunConfig) -> tuple[int, int]:
    """Processes, and torch threads for each of them."""
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs={jobs}: choose 1 or more processes")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    accelerated = base.device in ("cuda", "mps") or (base.device == "auto" and _accelerator())
    jobs = min(jobs or (1 if accelerated else cores), cells)
    return jobs, base.training.threads or max(1, cores // jobs)


def new_directory(base: RunConfig, kind: str) -> Path:
    """Where a comparison, or another `kind` of work on several runs, goes by default."""
    return Path(base.output) / f"{kind}-{base.entry.name}-{datetime.now():%Y%m%d-%H%M%S}"


def _accelerator() -> bool:
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def _facts(base: RunConfig) -> dict[str, Any]:
    entry, plain = base.entry, base.to_plain()
    return {
        "task": entry.name,
        "task_summary": entry.summary,
        "task_config": {key: value for key, value in plain["task"].items() if key != "name"},
        "training": plain["training"],
        "metric": entry.task.metric,
        "higher_is_better": entry.task.higher_is_better,
        "quick": base.quick,
    }


def circumstances(base: RunConfig, jobs: int, threads: int, seconds: float) -> dict[str, Any]:
    """When, by which command, on what and with which versions."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "processes": jobs,
        "threads_per_process": threads,
        "device": base.device,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def length_of(config: RunConfig, data: TaskData) -> int:
    """Tokens of an example as the backbone sees them, from one test example."""
    batch = data.split("test").batch(torch.arange(1))
    with torch.no_grad():
        embedded, _ = config.entry.task(config.task, data.facts, config.model.width).embed(batch)
    return int(embedded.shape[1])


def default_train() -> Train:
    """The one way to train a run."""
    from headwise.training.run import train

    return train


def _csv(result: Mapping[str, Any]) -> str:
    """One row for each run, for those who want to do their own statistics."""
    text = io.StringIO()
    columns = (
        "task",
        "metric",
        "arm",
        "seed",
        "value",
        "floor",
        "ceiling",
        "parameters",
        "flops_per_example",
        "failure",
    )
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for label, arm in result["arms"].items():
        for seed, value in zip(result["seeds"], arm["values"], strict=True):
            ends = [result["floor"], result["ceiling"]]
            size = [arm["parameters"], arm["flops_per_example"]]
            row = [result["task"], result["metric"], label, seed, value, *ends, *size, arm["failures"].get(str(seed))]
            table.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue()


def _mean(values: Any) -> float | None:
    known = [x for value in values if (x := number(value)) is not None]
    return math.fsum(known) / len(known) if known else None


def _means(mappings: Any) -> dict[str, Any]:
    """Key by key the mean of several mappings, to any depth."""
    known = [mapping for mapping in mappings if isinstance(mapping, Mapping)]
    means: dict[str, Any] = {}
    for key in dict.fromkeys(key for mapping in known for key in mapping):
        found = [mapping[key] for mapping in known if key in mapping]
        means[key] = _means(found) if isinstance(found[0], Mapping) else _mean(found)
    return means


def _with_nan(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
