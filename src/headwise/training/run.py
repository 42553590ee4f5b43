"""Training runs. A run is a directory; see `train` for what it holds."""

import contextlib
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from headwise.errors import InputError, StorageError
from headwise.files import make_folder, write_json, write_text, writing
from headwise.models.checkpoint import save
from headwise.tasks.base import SPLITS, TaskData, TaskModel
from headwise.training.building import build_model, data_of, reproducible
from headwise.training.config import RunConfig, read
from headwise.training.divergence import TrainingDiverged
from headwise.training.evaluation import analyse, summarise
from headwise.training.files import ANALYSIS, CONFIG, FAILURE, ROUTING, SUMMARY, TEST_VALUES
from headwise.training.fit import Fitted, check_shared, fit
from headwise.training.identity import keep_identity
from headwise.training.in_use import used
from headwise.training.interruption import TrainingInterrupted
from headwise.training.jsonl import write_last_line
from headwise.training.loggers import logging_to
from headwise.training.machine import device_of, require_loggers
from headwise.training.memory import memory_named
from headwise.training.precision import settled
from headwise.training.processes import Processes, announce, joined, launch, launched
from headwise.training.progress import reported
from headwise.training.resuming import resumed
from headwise.training.scoring import Score, score
from headwise.training.start import new_model
from headwise.training.state import whole

EXAMPLES = 10  # evaluation examples whose gates are kept


def train(
    config: RunConfig | None = None,
    resume: str | Path | None = None,
    *,
    directory: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Train one model and evaluate it on the test split.

    The run directory holds `config.yaml`, `data.json` (what tells its data from others), `metrics.jsonl` (training and
    validation), `routing.jsonl` (what the gates did; its last line is about the test split), `tensorboard/`,
    `checkpoints/`, and at the end `model.safetensors`, `model.json`, `test_values.npy` (the primary metric of each test
    example, float32), `analysis.json` (of a task that has one) and `summary.json`. The weights kept are the best on
    validation.

    Args:
        config: what to run; may be left out with `resume`.
        resume: directory of an interrupted run, continued exactly (bit for bit on the CPU).
        directory: for a new run; default a new one under `config.output`.
        progress: report on standard error.

    Returns:
        The run directory.

    Raises:
        InputError: no such run, a configuration or data that differ from those of the run to resume, a directory that
            is taken, a model that this machine has no memory for.
        StorageError: there is no space, or the place takes nothing; what was there before is untouched.
        OutOfMemoryError: an update took more memory than there is.
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
    with joined(device_of(config.device)) as processes, reproducible(config), memory_named(config):
        data = data_of(config)
        for name in SPLITS:  # what is wrong with the data, or too large, is said before there is a directory
            data.split(name)
        model = new_model(config, data)
        check_shared(config, processes)
        with reported(Console(stderr=True) if progress and processes.first else None):
            config = processes.of_first(partial(settled, config, model, data))
        path = Path(resume) if resume is not None else processes.of_first(lambda: new_directory(config, directory))
        identity = processes.of_first(data.identity)
        processes.of_first(lambda: keep_identity(path, identity))
        if resume is not None and read(path) != config:
            processes.of_first(lambda: write_config(path, config))  # with more updates, say: the next resume goes by it
        announce(path)
        with (
            used(path),
            resumable(path),
            failing(path, processes),
            logging_to(config, path, processes.first) as loggers,
        ):
            fitted = fit(config, model, data, path, resume is not None, progress, processes, loggers)
            test = data.split("test")
            result = score(model, test, config.training.evaluation_batch_size, EXAMPLES, processes)
            weights = {name: whole(tensor) for name, tensor in model.state_dict().items()}
            if processes.first:
                if config.training.shard:
                    model = build_model(config, data.facts)
                    model.load_state_dict(weights)
                summary = finish(config, model.cpu(), data, identity, path, fitted, result)
                for logger in loggers:
                    logger.summarise(summary)
            processes.wait()
    return path


def finish(
    config: RunConfig,
    model: TaskModel,
    data: TaskData,
    identity: dict[str, str],
    path: Path,
    fitted: Fitted,
    result: Score,
) -> dict[str, Any]:
    """Write what a run leaves behind: weights, analysis, test values and summary, for its score on the test split."""
    test = data.split("test")
    about = {"run": config.to_plain(), "facts": data.facts, "notes": data.notes, "data": identity}
    save(path, model, about)  # safe, whatever the analysis meets
    analysis = analyse(config, model, data, test, config.training.evaluation_batch_size)
    summary = summarise(config, model, data, test, result, analysis) | {
        "train_seconds": fitted.seconds,
        "samples_per_second": fitted.examples / max(fitted.seconds, 1e-9),
        "updates": fitted.updates,
        "selected_update": fitted.selected_update,
        "examples": fitted.examples,
        "data": identity,
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
    return summary


def new_directory(config: RunConfig, wanted: str | Path | None = None) -> Path:
    """Make the directory of a new run, with its configuration in it.

    Raises:
        InputError: the directory asked for holds something already.
        StorageError: there is no space; nothing is left.
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
    try:
        write_config(path, config)
    except StorageError:
        with contextlib.suppress(OSError):
            path.rmdir()
        raise
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
def failing(path: Path, processes: Processes) -> Iterator[None]:
    """Inside the block a divergence is noted in the run's directory, where an earlier note goes."""
    processes.of_first(partial((path / FAILURE).unlink, missing_ok=True))
    try:
        yield
    except TrainingDiverged as error:
        if processes.first:
            with contextlib.suppress(StorageError):  # a full disk must not hide why the run ended
                write_text(path / FAILURE, f"{type(error).__name__}: {error}\n")
        raise


def _made(path: Path) -> bool:
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True
