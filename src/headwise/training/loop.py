"""The training loop: a whole update on one screen, in the order in which it happens.

weights of the losses, forward, backward, clip by role, optimiser, steering, record, validate, save
"""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from headwise.routing.balance import steer
from headwise.tasks.base import Batch, TaskModel
from headwise.training.average import WeightAverage
from headwise.training.config import RunConfig
from headwise.training.data import TrainingBatches
from headwise.training.divergence import FiniteGuard
from headwise.training.interruption import Interruption
from headwise.training.objective import Objective
from headwise.training.optim import clip_by_role, drop_gradients
from headwise.training.processes import Processes
from headwise.training.progress import ProgressBar, ProgressFile
from headwise.training.recorder import Recorder
from headwise.training.schedules import loss_weights, set_learning_rates
from headwise.training.state import save
from headwise.training.streaming import StreamingBatches
from headwise.training.validation import Validation


@dataclass(frozen=True)
class Training:
    """What an update works with; `headwise.training.fit` puts it together.

    Attributes:
        config: of the run.
        model: on its device, in training mode.
        step: the model's forward pass and objective as one module, shared by processes.
        optimizer: a group of parameters for each role.
        batches: the stream of them, the position in it, and what a segment hands on to the next.
        average: of the weights, where there is one.
        guard: stops the run where a number is not finite.
        recorder, validation, progress: write metrics, select the best, show.
        folder: of the checkpoints.
        interruption: whether the run was asked to stop.
        processes: that share each batch.
    """

    config: RunConfig
    model: TaskModel
    step: nn.Module
    optimizer: torch.optim.Optimizer
    batches: TrainingBatches | StreamingBatches
    average: WeightAverage | None
    guard: FiniteGuard
    recorder: Recorder
    validation: Validation
    progress: ProgressBar | ProgressFile
    folder: Path
    interruption: Interruption
    processes: Processes


def train_loop(run: Training) -> bool:
    """Take updates until the last one, an early stop, the limit on time, or a request to stop.

    Returns:
        Whether it came to its end; not if one of the processes was asked to stop before.

    Raises:
        TrainingDiverged: loss or gradients are no longer finite.
    """
    config, batches, optimizer, processes = run.config.training, run.batches, run.optimizer, run.processes
    clip, frozen_until = config.preset.clip(), round(config.freeze_controller * config.updates)
    temperature = math.nan
    for parts in batches:  # what this process computes of the batch
        update = batches.position  # from 1
        set_learning_rates(optimizer, config, update)
        weights = loss_weights(config, update)
        if temperature != (temperature := config.temperature.value(batches.epochs)):
            run.model.backbone.set_temperature(temperature)

        terms = processes.sum(terms_of(run.model, parts))
        logs, loads = dict[str, Tensor](), None
        for n, part in enumerate(parts):
            with processes.reducing(run.step, now=n == len(parts) - 1):
                out: Objective = run.step(part, weights, batches.carry(n), batches.part(terms, n))
                torch.autograd.backward(out.loss)
            batches.hand_on(n, out)
            logs = {name: value + logs[name] for name, value in out.logs.items()} if logs else out.logs
            loads = out.loads if loads is None or out.loads is None else loads + out.loads

        if update <= frozen_until:
            drop_gradients(optimizer, "controller")
        norms = clip_by_role(optimizer, clip)
        run.guard.watch(update, logs["loss"], norms)
        run.recorder.before_step(update, optimizer)
        optimizer.step()
        if run.average is not None:
            run.average.update(run.model)
        if loads is not None and update > frozen_until:  # what cannot answer would be pushed ever harder
            steer(run.model.backbone.routers(), loads, run.config.arm.balance)
        run.recorder.after_step(update, logs, optimizer, run.guard, run.model)
        optimizer.zero_grad()

        asked, late = processes.any(run.interruption.requested, run.recorder.elapsed() > config.seconds_at_most)
        stopping = batches.between and asked
        ending = update == config.updates or (batches.between and late)
        validated = ending or batches.due(update, config.validate_every)
        with run.recorder.clock_stopped(validated or stopping):
            if validated:
                run.validation.run(update, run.model, run.average)
            if validated or stopping:
                save(run)
        run.progress.advance(update, validated)
        if ending or run.validation.exhausted:
            return True
        if stopping:
            return False
    return True


def terms_of(model: TaskModel, parts: list[Batch]) -> Tensor:
    """Loss terms of all parts, a scalar."""
    return torch.stack([model.task.terms(part).sum() for part in parts]).sum()
