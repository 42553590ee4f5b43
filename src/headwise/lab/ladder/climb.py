"""The ladder: arms from simple to rich, trained shortly one after the other, checked after each; it stops at the first
that fails and says why.

output/ladder.json, plan.json, data.json, runs/<arm>/seed<k>/ (each a run directory)
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from headwise.errors import InputError
from headwise.files import read_mapping, write_json
from headwise.lab.comparison.compare import default_train
from headwise.lab.comparison.plan import check_alike, keep_plan, new_directory, settled_precision
from headwise.lab.comparison.runs import PlannedRun, Train, train_run
from headwise.lab.formatting import format_quantity
from headwise.lab.ladder.checks import Check, Limits, Rung, check_rung
from headwise.lab.matching import mismatch
from headwise.lab.outputs import LADDER, arm_directory, run_directory
from headwise.lab.records import read_run, readable_mapping
from headwise.tasks.base import TaskModel
from headwise.training.building import data_of, reproducible
from headwise.training.checkpoints import read_checkpoint
from headwise.training.config import RunConfig
from headwise.training.files import CHECKPOINTS, LAST
from headwise.training.machine import device_of, require_loggers
from headwise.training.start import build
from headwise.training.state import restore_model

ARMS = ("baseline", "moh", "adaptive")
QUICK = "Quick try, no verdict on the arms: "
# A rung in seconds to a minute: long enough to leave the floor on every task, unless told otherwise.
BUDGET = ("training.updates=200", "training.validate_every=100", "training.log_every=10", "training.loggers=[]")


def ladder(
    arms: Sequence[tuple[str, RunConfig]],
    limits: Limits | None = None,
    output: Path | str | None = None,
    train: Train | None = None,
) -> dict[str, Any]:
    """Train and check arm by arm, on the same data and seed, up to the first that fails.

    A ladder that was stopped goes on where it was when called again with the same output; a rung that failed is trained
    again.

    Args:
        arms: label and configuration of each rung, first to last. They may differ in `arm` and `model` only.
        limits: what a rung may do.
        output: directory of the ladder; default a new one in `runs/`.
        train: what trains one configuration; default `headwise.training.run.train`.

    Returns:
        the content of ladder.json: rungs[].{arm, passed, checks[].{name, passed, value, allowed, says, note}}, passed,
        verdict.

    Raises:
        InputError: arms that differ in more, data that cannot be read, or an output that holds other runs. Nothing has
            been written then.
    """
    began, limits = time.perf_counter(), limits or Limits()
    if not arms:
        raise InputError("arms=[]: name at least one arm")
    check_alike(arms)
    base = arms[0][1]
    device_of(base.device)
    require_loggers(base.training.loggers)
    for _, config in arms:
        _fresh(config)  # so that what cannot be built or read is refused before anything is written
    path = Path(output) if output else new_directory(base, "ladder")
    if path.exists() and not path.is_dir():
        raise InputError(f"output={path}: a file; choose a directory")
    named = {label: replace(config, name=label) for label, config in arms}
    arms = list(settled_precision(named, path, base.training.threads).items())
    keep_plan(path, dict(arms), data_of(base))
    _forget_failed(path)

    console = Console(stderr=True, highlight=False)
    rungs: list[dict[str, Any]] = []
    before: list[tuple[float | None, float | None]] = []
    for label, config in arms:
        started = time.perf_counter()
        with console.status(f"{label}: training and checks"):
            rung, checks = _climb(label, config, path, limits, before, train or default_train())
        failed = next((check for check in checks if not check.passed), None)
        before.append((rung.value, rung.gradient_norm))
        rungs.append(
            {
                "arm": label,
                "passed": failed is None,
                "checks": [asdict(check) for check in checks],
                "value": rung.value,
                "gradient_norm": rung.gradient_norm,
                "seconds": round(time.perf_counter() - started, 1),
                "run": str(rung.run.directory.relative_to(path)),
            }
        )
        console.print(f"{label}: {len(checks)} checks, {'passed' if failed is None else f'failed at {failed.name}'}")
        result = {
            "task": base.entry.name,
            "metric": base.entry.task.metric,
            "floor": rung.run.summary.get("floor"),
            "ceiling": rung.run.summary.get("ceiling"),
            "seed": base.seed,
            "updates": base.training.updates,
            "quick": base.quick,
            "limits": asdict(limits),
            "arms": [label for label, _ in arms],
            "rungs": rungs,
            "passed": failed is None and len(rungs) == len(arms),
            "verdict": QUICK * base.quick + verdict(rungs, len(arms)),
            "directory": str(path),
            "seconds": round(time.perf_counter() - began, 1),
        }
        write_json(path / LADDER, result)
        if failed is not None:
            break
    return read_mapping(path / LADDER)


def verdict(rungs: Sequence[dict[str, Any]], planned: int) -> str:
    """The ladder in one sentence: the first failing rung and what is wrong with it, causes before symptoms."""
    last = rungs[-1]
    failed = [check for check in last["checks"] if not check["passed"]]
    if not failed:
        names = ", ".join(rung["arm"] for rung in rungs)
        rest = planned - len(rungs)
        return f"every check passed: {names}" + (f"; {format_quantity(rest, 'rung')} to go" if rest else "")
    others = ", ".join(check["name"] for check in failed[1:])
    return f"{last['arm']}: {failed[0]['says']}" + (f" (also failed: {others})" if others else "")


def _climb(
    label: str,
    config: RunConfig,
    output: Path,
    limits: Limits,
    before: Sequence[tuple[float | None, float | None]],
    train: Train,
) -> tuple[Rung, list[Check]]:
    """Train one rung, unless it is there already, and check it."""
    directory = run_directory(output, label, config.seed)
    planned = PlannedRun(label, config.seed, config, directory)
    failure = None if planned.finished else train_run(planned, train, config.training.threads)
    with reproducible(config):
        data, fresh = build(config)
        _, model = build(config)
        checkpoint = directory / CHECKPOINTS / LAST
        if checkpoint.is_file():
            _load_last(model, checkpoint)
        splits = (data.split("train"), data.split("test"))
        rung = Rung(config, fresh, model, *splits, read_run(directory), failure, tuple(before))
        return rung, check_rung(rung, limits)


def _fresh(config: RunConfig) -> TaskModel:
    with reproducible(config):
        return build(config)[1]


def _load_last(model: TaskModel, checkpoint: Path) -> None:
    """Give `model` the weights after the last update: those kept are the best on validation, perhaps earlier ones."""
    restore_model(model, read_checkpoint(checkpoint), checkpoint)


def _forget_failed(output: Path) -> None:
    """Remove the runs of rungs that failed: their cause may have been mended since."""
    before = readable_mapping(output / LADDER)
    if mismatch(before, {"rungs": [{"arm": str, "passed": bool}]}) is None:
        for rung in before["rungs"]:
            if not rung["passed"]:
                shutil.rmtree(arm_directory(output, rung["arm"]), ignore_errors=True)
