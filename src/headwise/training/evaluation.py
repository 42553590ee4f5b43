"""Finished runs: score one, load its model."""

import contextlib
import importlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from headwise.errors import InputError
from headwise.files import finite, typed
from headwise.models.checkpoint import CONFIG as MODEL
from headwise.models.checkpoint import load_weights, read_config
from headwise.models.flops import flops_per_example
from headwise.models.roles import parameters_by_role
from headwise.provenance import source_code
from headwise.tasks.base import Source, TaskData, TaskModel
from headwise.training.building import build_model, data_of, reproducible
from headwise.training.config import RunConfig, read
from headwise.training.loadable import find_run
from headwise.training.machine import device_of
from headwise.training.memory import check_memory
from headwise.training.scoring import Score, score, uncompiled


def evaluate(
    run: str | Path, overrides: Mapping[str, Any] | None = None, *, batch_size: int | None = None
) -> dict[str, Any]:
    """Score a finished run on the test split, under other settings if wanted.

    Args:
        run: its directory, or the name of a model that is loaded by name.
        overrides: dotted keys to values, `{"task.length": 24, "seed": 7}` (or nested mappings): another length, mask
            rate, number of refinement steps. What changes the shape of a weight is refused.
        batch_size: examples at once; default `training.evaluation_batch_size`.

    Returns:
        As summary.json, without what only training knows (time, updates); None where a number is not finite.

    Raises:
        InputError: no finished run, an unknown key, a setting that the weights do not fit.
    """
    path = find_run(run)
    config, facts = saved(path)
    changed = RunConfig.from_plain(overridden(config.to_plain(), overrides or {}))
    with reproducible(changed):
        data = data_of(changed)
        adopt(data, facts, path)
        model = restored(path, changed, facts)
        test = data.split("test")
        at_once = batch_size or changed.training.evaluation_batch_size
        result = score_on_device(changed, model, test, at_once)
        analysis = analyse(changed, model, data, test, at_once)
        summary: dict[str, Any] = finite(summarise(changed, model, data, test, result, analysis))
        return summary


def load(run: str | Path) -> TaskModel:
    """The model of a finished run, on the CPU, in evaluation mode.

    Args:
        run: its directory, or the name of a model that is loaded by name: maze-12 (`headwise list weights`).

    Raises:
        InputError: no finished run in that directory, no model of that name on this machine, or damaged files.
    """
    path = find_run(run)
    config, facts = saved(path)
    config = replace(config, device="cpu")  # wherever it was trained, perhaps on what is not here
    with reproducible(config):
        return restored(path, config, facts).eval()


def score_on_device(config: RunConfig, model: TaskModel, source: Source, batch_size: int, **more: Any) -> Score:
    """`score` on the run's device, with whatever `more` it takes; the model comes back to the CPU."""
    result = score(model.to(device_of(config.device)), source, batch_size, **more)
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
        "task_loss": result.loss,
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


def saved(path: Path) -> tuple[RunConfig, dict[str, Any]]:
    """Configuration of a finished run, and the facts of the data that it was trained on.

    Raises:
        InputError: no finished run, or damaged files.
    """
    read(path)  # says what is wrong with a directory that is no run
    content, file = read_config(path), path / MODEL
    return RunConfig.from_plain(typed(content, "run", dict, file)), typed(content, "facts", dict, file)


def adopt(data: TaskData, facts: dict[str, Any], path: Path) -> None:
    """Let the data be read as the run in `path`, which has these facts, reads them.

    Raises:
        InputError: its model does not fit them, or the facts are damaged.
    """
    with _of_saved(facts, path):
        data.adopt(facts)


def restored(path: Path, config: RunConfig, facts: dict[str, Any], task_config: Any = None) -> TaskModel:
    """The model of the run in `path` with its weights.

    Args:
        config: of the run, as it is to be built.
        facts: of the data that it was trained on.
        task_config: settings of the task in place of those of `config`.

    Raises:
        InputError: the weights, or what the machine has of memory, do not fit the settings; damaged files.
    """
    with _of_saved(facts, path):
        check_memory(config, facts)
        model = build_model(config, facts, task_config)
    load_weights(path, model)
    return model


@contextlib.contextmanager
def _of_saved(facts: dict[str, Any], path: Path) -> Iterator[None]:
    """Inside the block, what facts that are damaged make a task raise becomes one line.

    Raises:
        InputError: they are not those of a run.
    """
    try:
        yield
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise InputError(f"{path / MODEL}: facts ({', '.join(facts)}) that the task cannot use ({reason})") from error
