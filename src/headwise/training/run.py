"""Runs: train one, evaluate one, load one. A run is a directory; see `train` for what it holds."""

import contextlib
import importlib
import math
import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console

from headwise.errors import InputError
from headwise.files import finite, make_folder, write_json, write_text, writing
from headwise.models.backbone import Backbone
from headwise.models.checkpoint import load_weights, read_config, save
from headwise.models.flops import flops_per_example
from headwise.models.roles import parameters_by_role
from headwise.provenance import source_code
from headwise.tasks.base import Source, TaskData, TaskModel
from headwise.training.config import RunConfig, differences, read
from headwise.training.files import ANALYSIS, CONFIG, ROUTING, SUMMARY, TEST_VALUES
from headwise.training.fit import Fitted, check_shared, fit
from headwise.training.lines import write_last_line
from headwise.training.machine import device_of, require_loggers
from headwise.training.precision import settled
from headwise.training.processes import announce, joined, launch, launched
from headwise.training.progress import reported
from headwise.training.scoring import Score, score, uncompiled
from headwise.training.state import whole
from headwise.training.stops import TrainingInterrupted

EXAMPLES = 10  # evaluation examples whose gates are kept
# What may differ when a run is resumed: nothing that its weights depend on.
CHANGEABLE = (
    "output",
    "cache",
    "device",
    "training.loggers",
    "training.threads",
    "training.log_every",
    "training.accumulate",
    "training.processes",
    "training.shard",
    "training.max_seconds",
)


def train(
    config: RunConfig | None = None,
    resume: str | Path | None = None,
    *,
    directory: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Train one model and evaluate it on the test split.

    The run directory holds `config.yaml`, `metrics.jsonl` (training and validation), `routing.jsonl` (what the gates
    did; its last line is about the test split), `tensorboard/`, `checkpoints/`, and at the end `model.safetensors`,
    `model.json`, `test_values.npy` (the primary metric of each test example, float32), `analysis.json` (of a task that
    has one) and `summary.json`. The weights kept are the best on validation.

    Args:
        config: what to run; may be left out with `resume`.
        resume: directory of an interrupted run, continued exactly (bit for bit on the CPU).
        directory: for a new run; default a new one under `config.output`.
        progress: report on standard error.

    Returns:
        The run directory.

    Raises:
        InputError: no such run, a configuration that differs from the one resumed, a directory that is taken.
        TrainingInterrupted: Ctrl-C or SIGTERM; the message says how to continue.
        TrainingDiverged: loss or gradients are no longer finite.
    """
    if resume is not None:
        config = resumed(read(Path(resume)), config)
    if config is None:
        raise InputError("train: give a config, or resume=<run directory>")
    device = device_of(config.device)
    require_loggers(config.training.loggers)
    if config.training.processes > 1 and not launched():
        return launch(config.training.processes, device, _train, config, resume, directory, progress)  # type: ignore[no-any-return]
    return _train(config, resume, directory, progress)


def _train(config: RunConfig, resume: str | Path | None, directory: str | Path | None, progress: bool) -> Path:
    """`train` in one process, alone or among those that share the run."""
    with joined(device_of(config.device)) as processes, reproducible(config):
        data, model = build(config)
        for name in ("train", "validation", "test"):  # what is wrong with the data is said before there is a directory
            data.split(name)
        check_shared(config, processes)
        with reported(Console(stderr=True) if progress and processes.first else None):
            config = processes.of_first(partial(settled, config, model, data))
        path = Path(resume) if resume is not None else processes.of_first(lambda: new_directory(config, directory))
        if resume is not None and read(path) != config:
            processes.of_first(lambda: write_config(path, config))  # with more updates, say: the next resume goes by it
        announce(path)
        with resumable(path):
            fitted = fit(config, model, data, path, resume is not None, progress, processes)
            test = data.split("test")
            result = score(model, test, config.training.evaluation_batch_size, EXAMPLES, processes)
            weights = {name: whole(tensor) for name, tensor in model.state_dict().items()}
            if processes.first:
                if config.training.shard:
                    model = build_model(config, data.facts)
                    model.load_state_dict(weights)
                finish(config, model.cpu(), data, path, fitted, result)
            processes.wait()
    return path


def finish(config: RunConfig, model: TaskModel, data: TaskData, path: Path, fitted: Fitted, result: Score) -> None:
    """Write what a run leaves behind: weights, analysis, test values and summary, for its score on the test split."""
    test = data.split("test")
    about = {"run": config.to_plain(), "facts": data.facts, "notes": data.notes}
    save(path, model, about)  # safe, whatever the analysis meets
    analysis = analyse(config, model, data, test, config.training.evaluation_batch_size)
    summary = summarise(config, model, data, test, result, analysis) | {
        "train_seconds": fitted.seconds,
        "samples_per_second": fitted.examples / max(fitted.seconds, 1e-9),
        "updates": fitted.updates,
        "selected_update": fitted.selected_update,
        "examples": fitted.examples,
    }
    line = {
        "update": fitted.updates,
        "epoch": fitted.epoch,
        "split": "test",
        "selected": fitted.selected_update,
    }
    write_last_line(path / ROUTING, line | result.routing | {"examples": result.examples})
    with writing(path / TEST_VALUES) as out:
        np.save(out, result.metrics[model.task.metric].float().numpy(), allow_pickle=False)
    if analysis:
        write_json(path / ANALYSIS, analysis)
    write_json(path / SUMMARY, summary)


def evaluate(
    run: str | Path, overrides: Mapping[str, Any] | None = None, *, batch_size: int | None = None
) -> dict[str, Any]:
    """Score a finished run on the test split, under other settings if wanted.

    Args:
        run: its directory.
        overrides: dotted keys to values, `{"task.length": 24, "seed": 7}` (or nested mappings): another length, mask
            rate, number of refinement steps. What changes the shape of a weight is refused.
        batch_size: examples at once; default `training.evaluation_batch_size`.

    Returns:
        As summary.json, without what only training knows (time, updates); None where a number is not finite.

    Raises:
        InputError: no finished run, an unknown key, a setting that the weights do not fit.
    """
    path = Path(run)
    config, facts = _saved(path)
    changed = RunConfig.from_plain(overridden(config.to_plain(), overrides or {}))
    with reproducible(changed):
        data = data_of(changed)
        data.adopt(facts)
        model = build_model(changed, facts)
        load_weights(path, model)
        test = data.split("test")
        at_once = batch_size or changed.training.evaluation_batch_size
        result = score_on_device(changed, model, test, at_once)
        analysis = analyse(changed, model, data, test, at_once)
        summary: dict[str, Any] = finite(summarise(changed, model, data, test, result, analysis))
        return summary


def load(run: str | Path) -> TaskModel:
    """The model of a finished run, on the CPU, in evaluation mode.

    Raises:
        InputError: no finished run in that directory, or damaged files.
    """
    config, facts = _saved(Path(run))
    with reproducible(config):
        model = build_model(config, facts)
    load_weights(Path(run), model)
    return model.eval()


def build(config: RunConfig) -> tuple[TaskData, TaskModel]:
    """Data and freshly initialised model of a run; both depend on the configuration alone."""
    data = data_of(config)
    torch.manual_seed(config.seed)
    model = build_model(config, data.facts)
    model.task.warm_start()
    # A stream of its own for training: dropout must not depend on how many numbers the weights took.
    torch.manual_seed(np.random.SeedSequence([config.seed, 1]).generate_state(1).item())
    return data, model


def data_of(config: RunConfig) -> TaskData:
    """The data of a run."""
    return config.entry.data(config.task, config.seed, Path(config.cache) if config.cache else None)


def build_model(config: RunConfig, facts: dict[str, Any]) -> TaskModel:
    """A model with weights drawn from torch's global generator, for data with such `facts`."""
    task = config.entry.task(config.task, facts, config.model.width)
    return TaskModel(task, Backbone(config.model, config.arm, causal=task.causal))


def score_on_device(config: RunConfig, model: TaskModel, source: Source, batch_size: int, examples: int = 0) -> Score:
    """`score` on the run's device; the model comes back to the CPU."""
    result = score(model.to(device_of(config.device)), source, batch_size, examples)
    model.cpu()
    return result


@torch.no_grad()
def analyse(config: RunConfig, model: TaskModel, data: TaskData, source: Source, batch_size: int) -> dict[str, Any]:
    """What the task's own analysis finds on a source (see `TaskEntry.analysis`); empty for a task without one.

    Compiled blocks run uncompiled, as in `score`: batches there have sizes of their own.
    """
    if config.entry.analysis is None:
        return {}
    module, _, function = config.entry.analysis.rpartition(".")
    training = model.training
    model.eval().to(device_of(config.device))
    own = getattr(importlib.import_module(module), function)
    with uncompiled():
        found: dict[str, Any] = own(model, data, source, batch_size)
    model.train(training).cpu()
    return found


def summarise(
    config: RunConfig,
    model: TaskModel,
    data: TaskData,
    source: Source,
    result: Score,
    analysis: Mapping[str, Any],
) -> dict[str, Any]:
    """What summary.json says about a score: the value between its floor and its ceiling, and what it cost."""
    metrics, metric = result.means(), model.task.metric
    by_metric = data.references_by_metric(source) or {metric: data.references(source)}
    levels = {name: {who: v.double().nanmean().item() for who, v in own.items()} for name, own in by_metric.items()}
    references = levels[metric]
    steps = result.steps.double().mean().item()
    length = model.task.embed(source.batch(torch.arange(1)))[0].shape[1]
    counts = {role: sum(p.numel() for _, p in own) for role, own in parameters_by_role(model).items()}
    return {
        "task": config.entry.name,
        "arm": config.name,
        "seed": config.seed,
        "metric": metric,
        "higher_is_better": model.task.higher_is_better,
        "value": metrics[metric],
        "floor": references.get("floor", math.nan),
        "ceiling": references.get("ceiling", math.nan),
        "metrics": metrics | analysis.get("metrics", {}),
        "references": references,
        "references_by_metric": levels,
        "loss": result.loss,
        "test_examples": len(result.steps),
        "test_fingerprint": source.fingerprint(),
        "parameters": sum(counts.values()),
        "parameters_by_role": counts,
        "flops_per_example": flops_per_example(model.backbone, length, steps),
        "refinement_steps_mean": steps,
        "heads_active_mean": result.routing["heads_active_mean"],
        "heads_executed_mean": result.routing["heads_executed_mean"],
        "quick": config.quick,
        "headwise": source_code(),
    }


def resumed(saved: RunConfig, wanted: RunConfig | None) -> RunConfig:
    """The configuration under which a saved run continues.

    Raises:
        InputError: `wanted` differs from it in something that the weights depend on.
    """
    if wanted is None:
        return saved
    if wanted.training.precision == "auto":  # settled when the run began
        wanted = replace(wanted, training=replace(wanted.training, precision=saved.training.precision))
    for key, old, new in differences(saved.to_plain(), wanted.to_plain()):
        if key == "training.updates" and new > old:
            check_prolonged(saved, wanted)
        elif not any(key == name or key.startswith(name + ".") for name in CHANGEABLE):
            raise InputError(
                f"{key}={new}: the run to resume has {key}={old}; leave it as it was, or start a new run "
                f"(may change: {', '.join(CHANGEABLE)})"
            )
    return wanted


def check_prolonged(saved: RunConfig, wanted: RunConfig) -> None:
    """Refuse more updates for a run whose schedules are shares of a run of the length that it has.

    Raises:
        InputError: which schedule, and what it would have done differently.
    """
    training, old, new = saved.training, saved.training.updates, wanted.training.updates
    learned = bool(saved.arm.balance.losses) or saved.arm.halting.learned or saved.arm.balance.target is not None
    reasons = {
        f"schedule={training.schedule} has come to its end, and only constant goes on": training.schedule != "constant",
        f"warmup={training.warmup:g} of the longer run is not over yet": round(training.warmup * new) > old,
        "freeze_controller would freeze again": round(training.freeze_controller * new) > old,
        "ramp would lower the weights of losses again": learned and training.ramp * new > old,
        "entropy would be halved at other updates": (
            training.entropy.direction != "none" and training.entropy.halve_every is not None
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(
                f"training.updates={new}: the run to resume has training.updates={old}, and its {reason}; "
                "start a new run"
            )


def overridden(plain: dict[str, Any], overrides: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A plain configuration with values set by dotted keys or nested mappings.

    Raises:
        InputError: a key leads through something that is not there.
    """
    result = dict(plain)
    for key, value in overrides.items():
        first, _, rest = key.partition(".")
        if rest or isinstance(value, Mapping):
            inner = result.get(first)
            if not isinstance(inner, dict):
                raise InputError(f"{prefix}{key}={value}: unknown key; {prefix}{first} has no settings of its own")
            result[first] = overridden(inner, {rest: value} if rest else value, f"{prefix}{first}.")
        else:
            result[first] = value
    return result


def new_directory(config: RunConfig, wanted: str | Path | None = None) -> Path:
    """Make the directory of a new run, with its configuration in it.

    Raises:
        InputError: the directory asked for holds something already.
    """
    if wanted is not None:
        path = Path(wanted)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: exists already; choose another directory, or resume={path} to continue a run")
        make_folder(path)
    else:
        arm = re.sub(r"[^A-Za-z0-9_.=-]+", "_", config.name)
        stem = f"{config.entry.name}-{arm}-seed{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
        path = next(p for n in range(1000) if _made(p := Path(config.output) / (stem + (f"-{n}" if n else ""))))
    write_config(path, config)
    return path


def write_config(path: Path, config: RunConfig) -> None:
    """Write the resolved configuration into a run's directory."""
    write_text(path / CONFIG, yaml.safe_dump(config.to_plain(), sort_keys=False))


@contextlib.contextmanager
def resumable(path: Path) -> Iterator[None]:
    """Inside the block an interrupt at an awkward moment still says how to continue."""
    try:
        yield
    except TrainingInterrupted:
        raise
    except KeyboardInterrupt:
        raise TrainingInterrupted(path) from None


@contextlib.contextmanager
def reproducible(config: RunConfig) -> Iterator[None]:
    """Inside the block all global random numbers follow from the seed; afterwards they and torch's threads are as
    they were, so that a call leaves no mark on the program around it."""
    threads, numpy_state, python_state = torch.get_num_threads(), np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(config.seed)
        np.random.seed(config.seed % 2**32)
        random.seed(config.seed)
        if config.training.threads is not None:
            torch.set_num_threads(config.training.threads)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
            torch.set_num_threads(threads)


def _saved(path: Path) -> tuple[RunConfig, dict[str, Any]]:
    read(path)  # says what is wrong with a directory that is no run
    content = read_config(path)
    return RunConfig.from_plain(content["run"]), content["facts"]


def _made(path: Path) -> bool:
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True
