"""Whether the backward pass agrees with the forward pass: autograd against central differences, with forced gates.

For a direction v over the gates (or the head outputs) of one layer, with h the step of the differences,

    <dL/dg, v>   against   (L(g + h v) - L(g - h v)) / 2h

in float64. The gates are forced, so no selection stands between them and the loss, and the loss is a smooth function
of both. Heads that are off are left alone: a fast path need not compute them.

Legend: B batch, L length, H heads, E head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from headwise.routing.attention import RoutedAttention
from headwise.tasks.base import Batch, TaskModel

COARSE = 3e-3  # where parts compute in single precision whatever is given, as norms of pretrained models do
STEP = 1e-6  # crosses hardly any kink of a ReLU; rounding in float64, 1e-16 / STEP, is below 1e-9
DIRECTIONS = 4  # per layer: the chance that a wrong gradient agrees in all of them is nil
NOTHING = 1e-8  # directional derivatives below this say nothing

Loss = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Disagreement:
    """Relative errors |autograd - difference| / the larger of both, over the directions of each layer.

    Attributes:
        gates, heads: by layer, first to last.
    """

    gates: list[float]
    heads: list[float]


def disagreement(model: TaskModel, batch: Batch, seed: int = 0) -> Disagreement:
    """Compare autograd with central differences for the task loss of `model` on `batch`.

    Args:
        model: left as it is; a float64 copy is probed, whose dropout drops the same in every pass.
        batch: a few examples are enough.
        seed: of the directions and of the forced gates.
    """
    twin = deepcopy(model).cpu().double().train()
    batch = {key: value.cpu().double() if value.is_floating_point() else value.cpu() for key, value in batch.items()}
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        forced = forced_gates(twin, batch, generator)
        step = COARSE if model.task.brings_stack else STEP
        of_gates = _errors(lambda gates: _loss(twin, batch, forced, gates), forced, forced, generator, step)
        shifts = _shifts(twin)
        _loss(twin, batch, forced, forced)  # finds the shapes

        def loss(values: Sequence[Tensor]) -> Tensor:
            for shift, value in zip(shifts, values, strict=True):
                shift.value = value
            return _loss(twin, batch, forced, forced)

        zeros = [torch.zeros(shift.shape, dtype=torch.float64) for shift in shifts]
        of_heads = _errors(loss, zeros, [gates.unsqueeze(-1) for gates in forced], generator, step)
    return Disagreement(of_gates, of_heads)


@torch.no_grad()
def forced_gates(model: TaskModel, batch: Batch, generator: torch.Generator) -> list[Tensor]:
    """Gates [B, L|1, H] for each layer: those of the arm's last step, each times a number between 0.5 and 1.5.

    At gates of 1 a backward pass that ignores them would be right. An arm without a router gets such numbers alone.
    """
    recorded = (model(batch, record=True).gates or [[]])[-1]
    x, _ = model.task.embed(batch)
    config = model.backbone.model
    shape = (*x.shape[:2], config.heads)
    gates = [layer.weight for layer in recorded] or [x.new_ones(shape) for _ in range(config.depth)]
    return [gate * (0.5 + torch.rand(gate.shape, generator=generator, dtype=gate.dtype)) for gate in gates]


def _loss(model: TaskModel, batch: Batch, constant: Sequence[Tensor], gates: Sequence[Tensor]) -> Tensor:
    """Mean task loss at the last step, with `gates` in the steps that have a gradient and `constant` before them."""
    refiner = getattr(model.backbone, "refiner", None)  # a pretrained model has none
    loop, controller = model.backbone.arm.refinement, None if refiner is None else refiner.controller
    first = loop.first_with_gradient(controller.slow_period if controller is not None else None)
    steps = [constant] * (first - 1) + [gates] * (loop.steps - first + 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trace = model(batch, gates=steps)
        total = model.task.loss(model.task.read_out(trace.states[-1], batch), batch).sum()
    return total / model.task.terms(batch).sum()


def _errors(
    loss: Loss, at: Sequence[Tensor], where: Sequence[Tensor], generator: torch.Generator, step: float
) -> list[float]:
    """Relative error by layer; directions are random signs where `where` is not 0."""
    leaves = [value.clone().requires_grad_() for value in at]
    value = loss(leaves)
    gradients: Sequence[Tensor | None] = [None] * len(leaves)
    if value.requires_grad:
        gradients = torch.autograd.grad(value, leaves, allow_unused=True)
    errors = []
    for layer, (point, gradient) in enumerate(zip(at, gradients, strict=True)):
        claimed, measured = [], []
        for _ in range(DIRECTIONS):
            signs = torch.randint(0, 2, point.shape, generator=generator).to(point) * 2 - 1
            direction = signs * (where[layer] != 0)
            claimed.append(0.0 if gradient is None else (gradient * direction).sum().item())
            ends = [loss([*at[:layer], point + sign * step * direction, *at[layer + 1 :]]).item() for sign in (1, -1)]
            measured.append((ends[0] - ends[1]) / (2 * step))
        errors.append(_relative(claimed, measured))
    return errors


def _relative(claimed: Sequence[float], measured: Sequence[float]) -> float:
    difference = math.hypot(*(a - b for a, b in zip(claimed, measured, strict=True)))
    size = max(math.hypot(*claimed), math.hypot(*measured))
    return difference / size if size > NOTHING else 0.0


class _Shift:
    """Adds `value` to the head outputs of one layer on their way into `combine`, in steps that have a gradient."""

    def __init__(self, attention: RoutedAttention) -> None:
        self.combine = attention.combine
        self.value: Tensor | None = None
        self.shape: tuple[int, ...] = (0,)

    def __call__(self, heads: Tensor, gates: Tensor | None) -> Tensor:
        self.shape = tuple(heads.shape)  # [B, L, H, E]
        if self.value is not None and torch.is_grad_enabled():
            heads = heads + self.value
        return self.combine(heads, gates)


def _shifts(model: TaskModel) -> list[_Shift]:
    """Make the layers' head outputs shiftable, for good; all of them are computed, and combined in one place."""
    shifts = []
    for attention in model.modules():
        if isinstance(attention, RoutedAttention):
            shifts.append(_Shift(attention))
            vars(attention).update(combine=shifts[-1], skipping="never")
    return shifts
