"""The callback that writes what routers are steered by: the loss-free ranking bias and the multiplier of a budget."""

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from headwise.reasoning.refinement import Trace
from headwise.routing.balance import steer
from headwise.tasks.base import TaskModel
from headwise.training.config import RunConfig
from headwise.training.module import HeadwiseModule


class Steering(Callback):
    """After each update, from how much each head was used in it. Without anything to steer it does nothing.

    The objective hands over the trace of the forward pass (`observe`); what is kept of it is gone before the update is
    saved, so a resumed run needs nothing from here: the buffers are saved with the weights.

    Args:
        config: of the run. While the controllers are frozen nothing is steered: what cannot answer would be pushed ever
            harder.
    """

    def __init__(self, config: RunConfig) -> None:
        training = config.training
        self.balance = config.arm.balance
        self.starts_after = round(training.freeze_controller * training.updates)
        self._loads: Tensor | None = None

    def observe(self, trace: Trace) -> None:
        """Keep the loads of the update's forward pass."""
        self._loads = trace.loads

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loads, self._loads = self._loads, None
        if loads is not None and trainer.global_step > self.starts_after:
            steer(cast(TaskModel, cast(HeadwiseModule, pl_module).model).backbone.routers(), loads, self.balance)
