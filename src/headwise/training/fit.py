"""Fitting: puts together what an update works with, runs the loop, and says how it ended."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from headwise.errors import InputError
from headwise.models.blocks import Block, BlockStack
from headwise.models.compilation import compile_backbone
from headwise.models.roles import parameters_by_role
from headwise.reasoning.halting import CorrectHalting, FixedHalting
from headwise.tasks.base import Source, TaskData, TaskModel
from headwise.training.average import WeightAverage
from headwise.training.checkpoints import newest_readable, read_checkpoint
from headwise.training.config import RunConfig
from headwise.training.data import TrainingBatches
from headwise.training.divergence import FiniteGuard, TrainingDiverged
from headwise.training.files import BEST, CHECKPOINTS, LAST, PROFILE, PROGRESS
from headwise.training.interruption import Interruption, TrainingInterrupted
from headwise.training.loggers import Logger
from headwise.training.loop import Training, train_loop
from headwise.training.machine import device_of
from headwise.training.objective import Step
from headwise.training.optim import AdamW, check_optimizer, optimizer_for
from headwise.training.processes import Processes
from headwise.training.profiling import profiled
from headwise.training.progress import ProgressBar, ProgressFile, reported
from headwise.training.recorder import Recorder
from headwise.training.state import restore, restore_model, save, seed_process, tidy
from headwise.training.streaming import StreamingBatches
from headwise.training.validation import Validation

log = logging.getLogger("headwise")


@dataclass(frozen=True)
class Fitted:
    """How far training came: updates taken, the one whose weights were best, epoch, examples, seconds in updates."""

    updates: int
    selected_update: int
    epoch: int
    examples: int
    seconds: float


def fit(
    config: RunConfig,
    model: TaskModel,
    data: TaskData,
    directory: Path,
    resume: bool,
    progress: bool,
    processes: Processes | None = None,
    loggers: Sequence[Logger] = (),
) -> Fitted:
    """Train `model` in place, up to the last update or early stop, and leave it with its best weights on validation.

    Args:
        config: of the run.
        model: with its initial weights.
        data: of the task.
        directory: of the run; exists.
        resume: continue from the newest checkpoint there, or from the start if there is none yet.
        progress: show progress on standard error; else keep it in a file of the directory.
        processes: that share the run; default this one alone.
        loggers: get what the run's files get.

    Raises:
        TrainingInterrupted: a signal stopped the run; it can be resumed.
        TrainingDiverged: loss or gradients are no longer finite.
        InputError: checkpoints that cannot be read, or of another run.
    """
    processes, folder = processes or Processes(), directory / CHECKPOINTS
    found = newest_readable(folder) if resume else None
    console = Console(stderr=True) if progress and processes.first else None
    interruption = Interruption()
    with interruption.watched(), reported(console), warnings.catch_warnings():
        # torch fears that what a sharded block returns might be changed in place; nothing does.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        if resume and found is None:
            log.info("%s: no checkpoint yet, the run starts afresh", directory)
        resumed_at = None if found is None else found[1]["update"]
        run = assembled(config, model, data, directory, resumed_at, interruption, console, processes, loggers)
        if found is not None:
            restore(run, found[1], found[0])
            for logger in loggers:
                logger.resume(run.batches.position)
        if resume:
            processes.of_first(partial(tidy, directory, run.batches.position))
        log.info("run directory: %s", directory)
        try:
            ended = finished(run)
            if ended:
                log.info("%s: finished already, after %d updates", directory, run.batches.position)
            elif not trains(model):
                log.info("nothing in the model is trained: it is scored as it is")
                if found is None:
                    run.validation.run(0, model, run.average)
                    save(run)
                ended = True
            else:
                run.recorder.start_clock()
                looking = profiled(run, directory / PROFILE) if config.training.profile else contextlib.nullcontext()
                with run.progress.shown(run.batches.position), looking:
                    ended = train_loop(run)
                run.recorder.stop_clock()
        except TrainingDiverged as error:
            raise error.keeping(next((p for n in (LAST, BEST) if (p := folder / n).exists()), None)) from None
    if not ended:
        raise TrainingInterrupted(directory, run.batches.position)
    restore_model(model, read_checkpoint(folder / BEST), folder / BEST, averaged=True)
    recorder, batches = run.recorder, run.batches
    return Fitted(batches.position, run.validation.best_update, batches.epoch, recorder.examples, recorder.elapsed())


def assembled(
    config: RunConfig,
    model: TaskModel,
    data: TaskData,
    directory: Path,
    resumed_at: int | None,
    interruption: Interruption,
    console: Console | None,
    processes: Processes,
    loggers: Sequence[Logger],
) -> Training:
    """What the loop works with, at the beginning of the run."""
    training, device = config.training, device_of(config.device)
    model.to(device).train()
    for part in model.backbone.modules():
        if isinstance(part, BlockStack) or part is model.backbone:
            part.checkpointing = training.checkpointing
    if training.compile:
        compile_backbone(model.backbone)
    if training.shard:
        processes.sharded(model, [part for part in model.backbone.modules() if isinstance(part, Block)])
    seed_process(config.seed, processes.rank)
    assert training.precision != "auto", "settled before a run begins"
    step = processes.shared(Step(model, training.precision), unused=leaves_parameters_out(model))
    batches = batches_of(config, data.split("train"), processes, device)
    recorder = Recorder(
        directory, loggers, batches, training.log_every, training.validate_every, processes, training.profile
    )
    task = model.task
    validation = Validation(data.split("validation"), training, task.metric, task.higher_is_better, recorder, processes)
    optimizer = optimizer_for(model, training.preset) if trains(model) else AdamW([{"params": []}])
    check_optimizer(optimizer, model)
    shown = (
        ProgressFile(directory / PROGRESS if processes.first else None, recorder, validation)
        if console is None
        else ProgressBar(
            f"{config.entry.name} {config.name} seed {config.seed}", training.updates, recorder, validation, console
        )
    )
    frozen = [name for name, _ in parameters_by_role(model).get("controller", [])]
    until = round(training.freeze_controller * training.updates)
    if frozen and (resumed_at or 0) < until:
        log.info("frozen for the first %d updates (controller): %s", until, ", ".join(frozen))
    return Training(
        config,
        model,
        step,
        optimizer,
        batches,
        None if training.ema is None else WeightAverage(model, training.ema),
        # Reading a number waits for an accelerator, so there several updates are looked at together.
        FiniteGuard(every=1 if device == "cpu" else 16),
        recorder,
        validation,
        shown,
        directory / CHECKPOINTS,
        interruption,
        processes,
    )


def batches_of(
    config: RunConfig, source: Source, processes: Processes, device: str
) -> TrainingBatches | StreamingBatches:
    """The training batches of a run, in which examples that halt leave their rows where they do so in training."""
    training, loop, halting = config.training, config.arm.refinement, config.arm.halting
    given = (source, training.batch_size, training.updates, config.seed, loop.segments, training.accumulate)
    if isinstance(halting, CorrectHalting) and halting.streams:
        return StreamingBatches(
            *given, processes, device, loop.draws, steps=loop.steps, exploration=halting.exploration
        )
    return TrainingBatches(*given, processes, device, loop.draws)


def check_shared(config: RunConfig, processes: Processes) -> None:
    """Refuse what so many processes cannot share.

    Raises:
        InputError: one line with the key, the reason and the remedy.
    """
    training, parts = config.training, config.training.accumulate * processes.count
    if training.batch_size < parts:
        raise InputError(
            f"training.batch_size={training.batch_size}: fewer examples than parts ({processes.count} processes, "
            f"accumulate={training.accumulate}); choose {parts} or more"
        )
    if training.shard and processes.count == 1:
        raise InputError("training.shard=true: one process shares nothing; use training.processes=2 or torchrun")
    if training.shard and config.arm.halting != FixedHalting():
        raise InputError(
            "training.shard=true: examples that halt early would leave the processes at different steps, and sharded "
            "weights are put together by all at once; use arm.halting=fixed, or shard=false"
        )


def trains(model: TaskModel) -> bool:
    """Whether there is anything to train: not in a pretrained model that is left as it is."""
    return any(parameter.requires_grad for parameter in model.parameters())


def leaves_parameters_out(model: TaskModel) -> bool:
    """Whether an update may give some parameters no gradient: the slow module does not fire in every segment."""
    loop = model.backbone.arm.refinement
    if loop.segments == 1:
        return False
    controller = model.backbone.refiner.controller
    period = None if controller is None else controller.slow_period
    return period is not None and period > loop.steps


def finished(run: Training) -> bool:
    """Whether nothing is left to train: the last update is taken, patience or time is at an end."""
    training, taken = run.config.training, run.batches.position
    late = run.recorder.elapsed() > training.seconds_at_most
    return taken >= training.updates or (taken > 0 and (run.validation.exhausted or late))
