"""Validation: scores a split during training, selects the best weights and says when patience is at an end."""

import contextlib
import logging
import math
from typing import Any

from headwise.files import typed
from headwise.tasks.base import Source, TaskModel
from headwise.training.average import WeightAverage
from headwise.training.config import TrainingConfig
from headwise.training.files import METRICS, ROUTING
from headwise.training.loggers import GATED_EXAMPLES
from headwise.training.processes import Processes
from headwise.training.recorder import Recorder
from headwise.training.scoring import COLLAPSED, score

log = logging.getLogger("headwise")


class Validation:
    """Scores the validation split at intervals and after the last update, and remembers the best.

    Args:
        source: the validation split.
        config: the recipe.
        metric: the primary metric, which selects.
        higher_is_better: its direction.
        recorder: gets the lines.
        processes: that share the split.

    Attributes:
        latest: metrics of the latest validation.
        best, best_loss, best_update: the best primary metric so far, and where; among equals, as of a metric that has
            come to its ceiling, the lowest loss.
        waited: validations since the best.
    """

    def __init__(
        self,
        source: Source,
        config: TrainingConfig,
        metric: str,
        higher_is_better: bool,
        recorder: Recorder,
        processes: Processes,
    ) -> None:
        self.source, self.config, self.recorder, self.processes = source, config, recorder, processes
        self.metric, self.higher_is_better = metric, higher_is_better
        self.best, self.best_loss, self.best_update, self.waited = math.nan, math.inf, 0, 0
        self.latest: dict[str, float] = {}

    def run(self, update: int, model: TaskModel, average: WeightAverage | None) -> None:
        """Score the model as it is after so many updates, with its averaged weights where there are some."""
        with contextlib.nullcontext() if average is None else average.applied(model):
            kept = GATED_EXAMPLES if self.recorder.loggers else 0
            result = score(model, self.source, self.config.evaluation_batch_size, kept, self.processes)
        self.latest = result.means()
        value = self.latest[self.metric]
        better = self._better(value)
        self.waited = 0 if better else self.waited + 1
        if better or (value == self.best and result.loss < self.best_loss):
            self.best, self.best_loss, self.best_update = value, result.loss, update
        line = {"task_loss": result.loss} | self.latest
        self.recorder.write(METRICS, update, "validation", line | {"best": self.best_update == update})
        self.recorder.write(ROUTING, update, "validation", result.routing)
        self.recorder.log_gates(update, result.examples)
        if result.routing["collapsed"]:
            log.warning(
                "update %d: halting has collapsed (%.2f mean steps, below %.1f); lower training.losses.ponder, "
                "raise training.ramp or start deeper (arm.halting.bias)",
                update,
                result.routing["refinement_steps_mean"],
                COLLAPSED,
            )

    @property
    def exhausted(self) -> bool:
        """Whether so many validations brought nothing better that training is to stop."""
        return self.config.patience is not None and self.waited >= self.config.patience

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("best", "best_loss", "best_update", "waited")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_loss = (typed(state, name, float, "validation") for name in ("best", "best_loss"))
        self.best_update, self.waited = (typed(state, name, int, "validation") for name in ("best_update", "waited"))

    def _better(self, value: float) -> bool:
        if math.isnan(value):
            return self.best_update == 0  # something must be kept, even where the metric has no value yet
        if math.isnan(self.best):
            return True
        return value > self.best if self.higher_is_better else value < self.best
