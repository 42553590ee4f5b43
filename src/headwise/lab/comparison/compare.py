"""A fair comparison: arms of one size, the same data and recipe, paired seeds; then statistics and an honest verdict.

output/comparison.json, comparison.csv, pairs.csv, plan.json, data.json, runs/<arm>/seed<k>/ (each a run directory)
"""

import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from headwise.files import finite, read_mapping, write_json, write_text
from headwise.lab.comparison.launchers import LAUNCHERS, LOCAL
from headwise.lab.comparison.launching import Launcher
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.plan import Plan, keep_plan, plan
from headwise.lab.comparison.results import pair_table, summarise, table
from headwise.lab.comparison.rules import ONCE, Rule
from headwise.lab.comparison.runs import Train
from headwise.lab.comparison.train import train_runs
from headwise.lab.outputs import COMPARISON, COMPARISON_TABLE, PAIR_TABLE, refuse_other_work
from headwise.lab.records import Run, read_run
from headwise.schema import to_plain
from headwise.training.config import RunConfig, differences
from headwise.training.identity import check_identity

PACKAGES = ("headwise", "torch", "numpy", "scipy")


def compare(
    arms: Sequence[tuple[str, RunConfig]],
    seeds: int | Sequence[int] = 3,
    parity: Mode = "parameters",
    output: Path | str | None = None,
    jobs: int | None = None,
    train: Train | None = None,
    launcher: Launcher = LOCAL,
    rule: Rule = ONCE,
) -> dict[str, Any]:
    """Train every arm with every seed and say what can be said.

    A comparison that was stopped goes on where it was when called again with the same output; more seeds or arms may be
    added the same way. A failed run is named in the result and leaves its directory readable. The page, report.html,
    is not written here but by `headwise compare` and `headwise report`.

    Args:
        arms: label and configuration of each arm, the reference first. They may differ in `arm`, `model` and
            `training.preset`, the learning rates.
            `headwise.training.configuration.load_arms(["baseline", "hrm:refinement.steps=12"])` makes this list.
        seeds: how many, counted from the configurations' own seed, or which. Seed k gives every arm the same data.
        parity: what is made equal; see `headwise.lab.comparison.parity.match`.
        output: directory of the comparison; default a new one in `runs/`.
        jobs: runs side by side; on this machine they share the cores, and the default is one for each core, 1 on an
            accelerator. Elsewhere the default is as many as there is room for.
        train: what trains one configuration; default `headwise.training.run.train`.
        launcher: where the runs are trained, of `headwise.lab.comparison.launchers`; default processes on this machine.
        rule: what verdicts go by: the smallest difference of interest, with which arms may be called equivalent, and
            earlier looks at the data (`headwise.lab.comparison.automatic`).

    Returns:
        the content of comparison.json.

    Raises:
        InputError: arms that differ in more, that parity cannot match, an output that holds another comparison, a
            scaling or a run, or a launcher that is not installed. Nothing has been written then.
        Stopped, StorageError, WorkerLostError: as `headwise.lab.comparison.train.train_runs`; finished runs are kept.
    """
    planned = plan(arms, seeds, parity, output)
    refuse_other_work(planned.output, ["a comparison", "runs of a comparison or a ladder"])
    return carry_out(planned, planned.output, jobs, train or default_train(), launcher, rule)


def carry_out(
    planned: Plan, output: Path, jobs: int | None, train: Train, launcher: Launcher, rule: Rule = ONCE
) -> dict[str, Any]:
    """Train what is planned and conclude; arguments, result and errors as of `compare`, `output` that of the whole
    work."""
    began = time.perf_counter()
    launcher.check(planned.base)
    jobs, threads = launcher.share(jobs, len(planned.runs), planned.base)
    planned = planned.settled(threads)
    keep_plan(planned.output, planned.arms, planned.data)
    failures = train_runs(planned.runs, train, launcher, jobs, threads, output)
    how = circumstances(planned.base, launcher, jobs, threads, time.perf_counter() - began)
    return conclude(planned, failures, how, rule)


def conclude(planned: Plan, failures: Mapping[Path, str], how: Mapping[str, Any], rule: Rule = ONCE) -> dict[str, Any]:
    """Read the runs of a comparison back, write its result, return the content of comparison.json.

    Args:
        failures: what went wrong, by the run's directory.
        how: date, command, machine; see `circumstances`.
        rule: what verdicts go by.

    Raises:
        OtherDataError: runs of one seed were trained on different data.
    """
    result = found(planned, failures, rule)
    result["directory"] = str(planned.output)
    result["how"] = dict(how)
    write_json(planned.output / COMPARISON, result)
    write_text(planned.output / COMPARISON_TABLE, table(result))
    write_text(planned.output / PAIR_TABLE, pair_table(result))
    return read_mapping(planned.output / COMPARISON)


def found(
    planned: Plan, failures: Mapping[Path, str], rule: Rule = ONCE, tested: Sequence[tuple[str, str]] | None = None
) -> dict[str, Any]:
    """What the runs of a plan found: the content of comparison.json, without where and how; arguments as of `conclude`
    and `headwise.lab.comparison.results.summarise`."""
    runs = {(run.label, run.seed): read_run(run.directory) for run in planned.runs}
    for task in dict.fromkeys(str(config.task) for config in planned.arms.values()):
        _check_same_data({key: run for key, run in runs.items() if str(planned.arms[key[0]].task) == task})
    failed = {(run.label, run.seed): failures[run.directory] for run in planned.runs if run.directory in failures}
    result = summarise(runs, planned.seeds, planned.sized, failed, _facts(planned.base), rule, tested)
    shared = _recipe(planned.base)
    for label, config in planned.arms.items():
        varied = {key: value for key, _, value in differences(shared, _recipe(config))}
        result["arms"][label] |= {"preset": config.to_plain()["training"]["preset"], "varied": varied}
    return result


def _recipe(config: RunConfig) -> dict[str, Any]:
    """Task and training of an arm, but for the learning rates, which comparison.json has by themselves."""
    plain = config.to_plain()
    return {"task": plain["task"], "training": {k: v for k, v in plain["training"].items() if k != "preset"}}


def _check_same_data(runs: Mapping[tuple[str, int], Run]) -> None:
    """Refuse to compare runs of one seed that were trained on different data: the data changed in between."""
    first: dict[int, Run] = {}
    for (_, seed), run in runs.items():
        if "data" in run.summary:
            before = first.setdefault(seed, run)
            check_identity(
                f"{run.directory}, against {before.directory.relative_to(before.directory.parents[1])}",
                before.summary["data"],
                run.summary["data"],
            )


def _facts(base: RunConfig) -> dict[str, Any]:
    entry, plain = base.entry, base.to_plain()
    return {
        "task": entry.name,
        "task_summary": entry.summary,
        "task_config": {key: value for key, value in plain["task"].items() if key != "name"},
        "training": plain["training"],
        "metric": entry.task.metric,
        "metric_range": finite(entry.task.metric_range),
        "higher_is_better": entry.task.higher_is_better,
        "quick": base.quick,
    }


def circumstances(base: RunConfig, launcher: Launcher, jobs: int, threads: int, seconds: float) -> dict[str, Any]:
    """When, by which command, on what and with which versions."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "launcher": to_plain(launcher, LAUNCHERS),
        "processes": jobs,
        "threads_per_process": threads,
        "device": base.device,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def default_train() -> Train:
    """The one way to train a run."""
    from headwise.training.run import train

    return train
