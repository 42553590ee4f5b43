"""Fitting: assembles module, data, callbacks and Lightning's Trainer for one run, and says how it ended."""

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from headwise.models.blocks import Block, BlockStack
from headwise.tasks.base import TaskData, TaskModel
from headwise.training.callbacks import Schedules, Validation
from headwise.training.checkpoints import (
    BEST,
    FOLDER,
    LAST,
    Checkpoints,
    RandomNumbers,
    SafeCheckpointIO,
    newest_readable,
    read_checkpoint,
)
from headwise.training.config import RunConfig
from headwise.training.data import TrainingBatches
from headwise.training.machine import device_of
from headwise.training.module import HeadwiseModule
from headwise.training.objective import objective
from headwise.training.progress import ProgressBar, quiet_lightning, reported
from headwise.training.recorder import Recorder
from headwise.training.segments import Segments
from headwise.training.steering import Steering
from headwise.training.stops import Interruption, TrainingDiverged, TrainingInterrupted

log = logging.getLogger("headwise")


@dataclass(frozen=True)
class Fitted:
    """How far training came: updates taken, the one whose weights were best, epoch, examples, seconds in updates."""

    updates: int
    selected_update: int
    epoch: int
    examples: int
    seconds: float


def fit(config: RunConfig, model: TaskModel, data: TaskData, directory: Path, resume: bool, progress: bool) -> Fitted:
    """Train `model` in place, up to the last update or early stop, and leave it with its best weights on validation.

    Args:
        config: of the run.
        model: with its initial weights.
        data: of the task.
        directory: of the run; exists.
        resume: continue from the newest checkpoint there.
        progress: show progress on standard error.

    Raises:
        TrainingInterrupted: a signal stopped the run; it can be resumed.
        TrainingDiverged: loss or gradients are no longer finite.
        InputError: nothing to resume from.
    """
    training, folder = config.training, directory / FOLDER
    checkpoint = newest_readable(folder) if resume else None
    segments = config.arm.refinement.segments
    batches = TrainingBatches(data.split("train"), training.batch_size, training.updates, config.seed, segments)
    weights: dict[str, float] = {}
    steering = Steering(config)
    loss = partial(objective, weights=weights, observe=steering.observe if config.arm.balance.steers else None)
    module = HeadwiseModule(model, Segments(loss, batches), training.preset)
    interruption = Interruption()
    loggers = make_loggers(config, directory, read_checkpoint(checkpoint)["global_step"] if checkpoint else None)
    recorder = Recorder(directory, loggers, batches, training.log_every, training.validate_every, interruption)
    task = model.task
    validation = Validation(data.split("validation"), training, task.metric, task.higher_is_better, recorder)
    callbacks: list[Callback] = [
        Schedules(training, batches.updates_per_epoch, weights),
        steering,  # before validation and checkpoints, which then see what it wrote
        recorder,
        validation,
        RandomNumbers(),
        Checkpoints(folder, validation, interruption, recorder),
    ]
    console = Console(stderr=True) if progress else None
    if console is not None:
        label = f"{config.entry.name} {config.name} seed {config.seed}"
        callbacks.append(ProgressBar(label, training.updates, recorder, validation, console))
    for part in model.backbone.modules():
        if isinstance(part, BlockStack):
            part.checkpointing = training.checkpointing
    if training.compile:
        compile_blocks(model)
    with quiet_lightning(), interruption.watched(), reported(console):
        trainer = make_trainer(config, directory, callbacks)
        try:
            log.info("run directory: %s", directory)
            trainer.fit(module, batches, ckpt_path=checkpoint, weights_only=True)
        except TrainingDiverged as error:
            raise error.keeping(next((p for n in (LAST, BEST) if (p := folder / n).exists()), None)) from None
        except SIGTERMException:
            pass
        except SystemExit:  # Lightning's answer to a second interrupt
            raise KeyboardInterrupt from None
    model.cpu()
    if interruption.requested and trainer.global_step < training.updates:
        raise TrainingInterrupted(directory, trainer.global_step)
    restore_best(model, folder)
    return Fitted(trainer.global_step, validation.best_update, batches.epoch, recorder.examples, recorder.elapsed())


def make_trainer(config: RunConfig, directory: Path, callbacks: list[Callback]) -> Trainer:
    """A Trainer whose one epoch is the whole run; recording, validation and saving are callbacks' work."""
    return Trainer(
        accelerator=device_of(config.device).replace("cuda", "gpu"),
        devices=1,
        precision="bf16-mixed" if config.training.precision == "bf16" else "32-true",
        max_steps=config.training.updates,
        max_epochs=-1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=callbacks,
        plugins=[SafeCheckpointIO(), LightningEnvironment()],
        profiler=NoProfiler(),
        default_root_dir=directory,
    )


def compile_blocks(model: TaskModel, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile each block of the stack, in place; weights keep their names.

    A block is compiled once and used at every refinement step, so that the time it takes does not grow with R. The
    first shape is compiled as it is, and once more for any when a second one comes: the last batch of an epoch, or
    sentences of another length. `score` and analyses run the blocks uncompiled, as halted examples leave the batch
    there and every batch has a size of its own.
    """
    for block in model.backbone.modules():
        if isinstance(block, Block):
            block.compile(backend=backend)


class NoProfiler(Profiler):
    """Lightning opens a profiler's context around each of its hooks, some sixty a step; this one costs nothing."""

    _nothing = contextlib.nullcontext("")

    def profile(self, action_name: str) -> Any:
        return self._nothing

    def start(self, action_name: str) -> None:
        """Nothing is measured."""

    def stop(self, action_name: str) -> None:
        """Nothing is measured."""

    def summary(self) -> str:
        return ""


def make_loggers(config: RunConfig, directory: Path, resumed_at: int | None) -> list[Logger]:
    """The loggers named in the configuration, writing into the run's directory."""
    loggers: list[Logger] = []
    for name in config.training.loggers:
        if name == "tensorboard":
            # On resume, purge_step hides what the interrupted run wrote after its last checkpoint.
            purge = None if resumed_at is None else resumed_at + 1
            loggers.append(TensorBoardLogger(directory, name="", version="tensorboard", purge_step=purge))
        else:
            offline = name == "wandb_offline"
            loggers.append(WandbLogger(name=directory.name, save_dir=directory, project="headwise", offline=offline))
    return loggers


def restore_best(model: TaskModel, folder: Path) -> None:
    """Give `model` the weights of the best validation."""
    prefix = "model."
    weights = read_checkpoint(folder / BEST)["state_dict"]
    model.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in weights.items()})
