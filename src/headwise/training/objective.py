"""The objective: the one place where task loss, weights of the supervised steps and routing losses come together.

Legend: B batch, L length, K supervised steps.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.reasoning.refinement import Carry, Trace
from headwise.tasks.base import Batch, TaskModel


class Objective(NamedTuple):
    """What a training step minimises, detached scalars about it, and what the next segment starts from.

    Attributes:
        loss: scalar with gradient.
        logs: `loss`, `task_loss`, `steps` (mean refinement steps), each routing loss by name, unweighted, and `tokens`
            (B·L, padding included, since it is computed).
        carry: the state in which the segment ended, detached.
    """

    loss: Tensor
    logs: dict[str, Tensor]
    carry: Carry


def objective(
    model: TaskModel,
    batch: Batch,
    weights: Mapping[str, float],
    observe: Callable[[Trace], None] | None = None,
    carry: Carry | None = None,
) -> Objective:
    """Loss of a batch, or of one supervised segment of it:

        sum_b sum_k w[k, b] · sum[k, b] / sum_b count[b]   +   sum_n weight_n · routing_loss_n

    with `sum` and `count` the task's loss per example after supervised step k, and w = Trace.weights (sum 1 over k). It
    is the mean over loss terms, so neither padding nor the number of supervised steps changes its scale, and an example
    with twice the terms weighs twice.

    Args:
        model: task and backbone.
        batch: named tensors.
        weights: of the routing losses by name; negative rewards. 0 leaves one out.
        observe: called with the trace, for what is steered by it between updates.
        carry: of the segment before; None at the first.

    Raises:
        InputError: the model returns a routing loss that has no weight.
    """
    trace = model(batch, carry)
    if observe is not None:
        observe(trace)
    task_loss = weighted_task_loss(model, batch, trace)
    loss = task_loss
    logs = {"task_loss": task_loss.detach(), "steps": trace.steps.detach().mean()}
    for name, value in trace.losses.items():
        if name not in weights:
            raise InputError(f"training.losses.{name}: missing; the model has this loss, give it a weight (0 for none)")
        if weights[name]:
            loss = loss + weights[name] * value
        logs[name] = value.detach()
    logs["loss"] = loss.detach()
    logs["tokens"] = torch.tensor(float(trace.states[0, :, :, 0].numel()))
    return Objective(loss, logs, trace.carry.detach())


def weighted_task_loss(model: TaskModel, batch: Batch, trace: Trace) -> Tensor:
    """The first term of `objective`, for a trace that is there already."""
    total, count = torch.zeros((), device=trace.states.device), torch.ones((), device=trace.states.device)
    for state, weight in zip(trace.states, trace.weights, strict=True):  # [B, L, D], [B]
        sums, count = model.task.loss(model.task.read_out(state, batch), batch)
        total = total + (weight * sums).sum()
    return total / count.sum().clamp_min(1)
