"""Callbacks that steer a run: schedules written between updates, validation with selection and early stopping."""

import logging
import math
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from headwise.models.roles import parameters_by_role
from headwise.routing.routers import Router
from headwise.tasks.base import Source, TaskModel
from headwise.training.config import TrainingConfig
from headwise.training.lines import METRICS, ROUTING
from headwise.training.module import HeadwiseModule
from headwise.training.recorder import Recorder
from headwise.training.schedules import learning_rate_factor, ramped
from headwise.training.scoring import COLLAPSED, score

log = logging.getLogger("headwise")


class Schedules(Callback):
    """Writes learning rates, temperature, loss weights and the controller's freeze, each a function of the update.

    Args:
        config: the recipe.
        updates_per_epoch: updates in one pass over the training data, for the temperature.
        weights: the dictionary that the objective reads its loss weights from.
    """

    def __init__(self, config: TrainingConfig, updates_per_epoch: int, weights: dict[str, float]) -> None:
        self.config, self.updates_per_epoch, self.weights = config, updates_per_epoch, weights
        self.frozen_until = round(config.freeze_controller * config.updates)
        self._temperature: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._temperature = None
        frozen = [name for name, _ in parameters_by_role(cast(HeadwiseModule, pl_module).model).get("controller", [])]
        if trainer.global_step < self.frozen_until and frozen:
            log.info("frozen for the first %d updates (controller): %s", self.frozen_until, ", ".join(frozen))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        config, update = self.config, trainer.global_step
        factor = learning_rate_factor(update, config.updates, config.warmup, config.schedule)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * factor
        progress = update / config.updates
        self.weights["entropy"] = config.entropy.value(progress)
        for name, weight in config.losses.items():
            self.weights[name] = ramped(weight, progress, config.ramp)
        temperature = config.temperature.value(update / self.updates_per_epoch)
        if temperature != self._temperature:
            self._temperature = temperature
            for module in pl_module.modules():
                if isinstance(module, Router):
                    module.temperature.fill_(temperature)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        # Without a gradient AdamW leaves a parameter, its weight decay and its moments alone. `requires_grad` would do
        # the same but would undo a user's own freeze afterwards, and a compiled model would be compiled again.
        if trainer.global_step < self.frozen_until:
            for group in optimizer.param_groups:
                if group["role"] == "controller":
                    for parameter in group["params"]:
                        parameter.grad = None


class Validation(Callback):
    """Scores the validation split at intervals and after the last update; remembers the best; may stop the run.

    Args:
        source: the validation split.
        config: the recipe.
        metric: the primary metric, which selects.
        higher_is_better: its direction.
        recorder: gets the lines.

    Attributes:
        ran_at: the update of the latest validation, 0 before the first.
        best, best_loss, best_update: the best primary metric so far, and where; among equals, as of a metric that has
            come to its ceiling, the lowest loss.
        waited: validations since the best.
    """

    def __init__(
        self, source: Source, config: TrainingConfig, metric: str, higher_is_better: bool, recorder: Recorder
    ) -> None:
        self.source, self.config, self.recorder = source, config, recorder
        self.metric, self.higher_is_better = metric, higher_is_better
        self.best, self.best_update, self.waited, self.ran_at = math.nan, 0, 0, 0
        self.best_loss = math.inf
        self.latest: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        kept = ("best", "best_loss", "best_update", "waited", "ran_at")
        return {name: getattr(self, name) for name in kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_if_waited(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        update = trainer.global_step
        if not self.recorder.batches.due(update, self.config.validate_every):
            return
        self.recorder.pause_clock()
        result = score(cast(TaskModel, pl_module.model), self.source, self.config.evaluation_batch_size)
        self.latest = result.means()
        self.ran_at = update
        value = self.latest[self.metric]
        better = self._better(value)
        self.waited = 0 if better else self.waited + 1
        if better or (value == self.best and result.loss < self.best_loss):
            self.best, self.best_loss, self.best_update = value, result.loss, update
        line = {"loss": result.loss} | self.latest
        self.recorder.write(METRICS, update, "validation", line | {"best": self.best_update == update})
        self.recorder.write(ROUTING, update, "validation", result.routing)
        if result.routing["collapsed"]:
            log.warning(
                "update %d: halting has collapsed (%.2f mean steps, below %.1f); lower training.losses.ponder, "
                "raise training.ramp or start deeper (arm.halting.bias)",
                update,
                result.routing["refinement_steps_mean"],
                COLLAPSED,
            )
        self._stop_if_waited(trainer)
        self.recorder.resume_clock()

    def _better(self, value: float) -> bool:
        if math.isnan(value):
            return self.best_update == 0  # something must be kept, even where the metric has no value yet
        if math.isnan(self.best):
            return True
        return value > self.best if self.higher_is_better else value < self.best

    def _stop_if_waited(self, trainer: Trainer) -> None:
        if self.config.patience is not None and self.waited >= self.config.patience:
            log.info("stopping early: no better %s in %d validations", self.metric, self.waited)
            trainer.should_stop = True
