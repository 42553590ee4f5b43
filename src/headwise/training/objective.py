"""The objective: the one place where task loss, weights of the supervised steps and routing losses come together.

Legend: B batch, L length, K supervised steps.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.errors import InputError
from headwise.models.precision import Precision, autocast
from headwise.reasoning.trace import Carry, Trace
from headwise.routing.pooling import batch_mean
from headwise.tasks.base import Batch, TaskModel


class Part(NamedTuple):
    """Which part of an update's batch is computed, where it is computed in several.

    Attributes:
        terms: loss terms of the whole batch, a scalar.
        processes: that compute it; their gradients are averaged, so each multiplies its sum by their number.
        share: of the examples of this process, in 0..1; the parts of a process are added up.
    """

    terms: Tensor
    processes: int = 1
    share: float = 1.0


class Objective(NamedTuple):
    """What a training step minimises, detached scalars about it, and what the next segment starts from.

    Attributes:
        loss: scalar with gradient.
        logs: `loss`, `task_loss`, `steps` (mean refinement steps), each routing loss by name, unweighted, `halting`
            where answers are judged, and `tokens` (B·L, padding included, since it is computed). Those of the parts of
            a batch add up to its own.
        carry: the state in which the segment ended, detached.
        halts: bool [B], the examples whose answer is judged right, where answers are judged, else None.
        loads: [layers, H], share of tokens that used each head, where something is steered by it, else None.
    """

    loss: Tensor
    logs: dict[str, Tensor]
    carry: Carry
    loads: Tensor | None = None
    halts: Tensor | None = None


def objective(
    model: TaskModel, batch: Batch, weights: Mapping[str, float], carry: Carry | None = None, part: Part | None = None
) -> Objective:
    """Loss of a batch, or of one supervised segment of it:

        sum_b sum_k w[k, b] · sum[k, b] / sum_b terms[b]   +   sum_n weight_n · routing_loss_n

    with `sum` and `terms` the task's loss per example after supervised step k, and w = Trace.weights (sum 1 over k). It
    is the mean over loss terms, so neither padding nor the number of supervised steps changes its scale, and an example
    with twice the terms weighs twice.

    Args:
        model: task and backbone.
        batch: named tensors.
        weights: of the routing losses by name; negative rewards. 0 leaves one out; the gates' entropy, which costs time
            at every step and layer, is then not even computed.
        carry: of the segment before; None at the first.
        part: where `batch` is a part of the update's; None: it is all of it.

    Raises:
        InputError: the model returns a routing loss that has no weight.
    """
    model.backbone.reports_entropy = bool(weights.get("entropy"))
    trace = model(batch, carry)
    terms, processes, share = part or Part(model.task.terms(batch).sum())
    task_loss = weighted_task_loss(model, batch, trace) * processes / terms.clamp_min(1)
    loss = task_loss
    logs = {"task_loss": task_loss.detach(), "steps": trace.steps.detach().mean() * share}
    losses = trace.losses if trace.halting is None else trace.losses | {"halting": halting_loss(model, batch, trace)}
    for name, value in losses.items():
        if name not in weights:
            raise InputError(f"training.losses.{name}: missing; the model has this loss, give it a weight (0 for none)")
        if weights[name]:
            loss = loss + weights[name] * share * value
        logs[name] = value.detach() * share
    logs["loss"] = loss.detach()
    logs["tokens"] = torch.tensor(float(trace.states[0, :, :, 0].numel()))
    loads = None if trace.loads is None else trace.loads * share
    halts = None if trace.halting is None else trace.halting.detach() > model.backbone.arm.halting.level
    return Objective(loss, logs, trace.carry.detach(), loads, halts)


class Step(nn.Module):
    """`objective` as a module, so that what shares a model between processes sees the whole of a training step.

    Args:
        model: task and backbone.
        precision: bf16 computes matrix products so; weights and losses stay in full precision.
    """

    def __init__(self, model: TaskModel, precision: Precision) -> None:
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, batch: Batch, weights: Mapping[str, float], carry: Carry | None, part: Part) -> Objective:
        """As `objective`."""
        with autocast(part.terms.device, self.precision):
            return objective(self.model, batch, weights, carry, part)


def halting_loss(model: TaskModel, batch: Batch, trace: Trace) -> Tensor:
    """Binary cross-entropy in nats of the logits that answers are right with whether they are, mean over examples.

    Raises:
        InputError: the task has no metric that says so.
    """
    task, logits = model.task, trace.halting
    assert logits is not None
    if task.exact is None:
        raise InputError(
            f"task {task.name}: names no metric that says whether an answer is right (exact); see headwise.Task"
        )
    with torch.no_grad():
        right = task.metrics(task.read_out(trace.states[-1], batch), batch)[task.exact]
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return batch_mean(F.binary_cross_entropy_with_logits(logits, right.to(logits.dtype), reduction="none"))


def weighted_task_loss(model: TaskModel, batch: Batch, trace: Trace) -> Tensor:
    """The numerator of `objective`'s first term, for a trace that is there already."""
    total, task = torch.zeros((), device=trace.states.device), model.task
    for k, (state, weight) in enumerate(zip(trace.states, trace.weights, strict=True)):  # [B, L, D], [B]
        asked = batch if trace.numbers is None else task.at_step(batch, trace.numbers[k])
        total = total + (weight * task.loss(task.read_out(state, asked), asked)).sum()
    return total
