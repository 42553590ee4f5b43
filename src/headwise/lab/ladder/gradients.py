"""Which parameters get a gradient, of the whole objective of a run over a few batches, and which have moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from headwise.tasks.base import Batch, TaskModel
from headwise.training.config import RunConfig
from headwise.training.objective import Objective, objective


def segment_objectives(model: TaskModel, batch: Batch, config: RunConfig) -> Iterator[Objective]:
    """The objective of each supervised segment of a batch, with the loss weights that the run ends with."""
    weights = dict(config.training.losses) | {"entropy": config.training.entropy.value(1.0)}
    carry = None
    for _ in range(config.arm.refinement.segments):
        out = objective(model, batch, weights, carry)
        carry = out.carry
        yield out


def gradient_norms(model: nn.Module, batches: Iterable[Iterable[Tensor]]) -> dict[str, float]:
    """The largest gradient norm of each parameter over batches, each given as the losses that add up to its own.

    The model's gradients are dropped, before and after.
    """
    norms = dict.fromkeys((name for name, _ in model.named_parameters()), 0.0)
    for losses in batches:
        model.zero_grad(set_to_none=True)
        for loss in losses:
            if loss.requires_grad:
                torch.autograd.backward(loss)
        for name, parameter in model.named_parameters():
            norm = 0.0 if parameter.grad is None else parameter.grad.double().norm().item()
            norms[name] = max(norms[name], norm)
    model.zero_grad(set_to_none=True)
    return norms


def unmoved(fresh: nn.Module, model: nn.Module) -> list[str]:
    """Names of the parameters of `model` that are those of `fresh`, the same model before training."""
    start = dict(fresh.named_parameters())
    return [name for name, now in model.named_parameters() if torch.equal(now.cpu(), start[name].cpu())]
