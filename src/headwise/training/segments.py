"""Supervision in segments: an example is trained on several times in a row, each time from where the last one ended."""

from collections.abc import Callable

from torch import Tensor

from headwise.reasoning.refinement import Carry
from headwise.tasks.base import Batch, TaskModel
from headwise.training.data import TrainingBatches
from headwise.training.objective import Objective


class Segments:
    """The loss of the segment that is due, for `HeadwiseModule`: the one place where state stays between two calls.

    It is detached, so no gradient reaches back into an earlier segment, whose weights were other ones. It is dropped
    where a batch begins and never saved: runs are saved between batches (`Checkpoints`).

    Args:
        loss: `objective` but for its model, batch and carry.
        batches: the stream, which knows the segment.

    Attributes:
        carry: of the segment before, None at the first.
    """

    def __init__(self, loss: Callable[..., Objective], batches: TrainingBatches) -> None:
        self.loss, self.batches = loss, batches
        self.carry: Carry | None = None

    def __call__(self, model: TaskModel, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        loss, logs, carry = self.loss(model, batch, carry=self.carry if self.batches.segment else None)
        self.carry = None if self.batches.between else carry
        return loss, logs
