"""Whether what a controller or router gives reaches the loss, and whether the backward pass knows it.

Along a random direction v added to the output of a module whose role is controller, with h the step,

    <dL/d output, v>   against   (L(output + h v) - L(output - h v)) / 2h

in float64, at weights a little off their start. Where the difference is not 0 and the gradient is, the backward pass
ignores the gates; where both are 0, nothing uses them. That both are something else is no defect: a straight-through
gradient is not that of the forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from headwise.lab.doctor.case import Case, hidden_of, repeatable, total
from headwise.lab.ladder.finite_differences import STEP

DIRECTIONS = 3
NOTHING = 1e-8  # of the loss: a derivative below says that there is none


@dataclass(frozen=True)
class Reach:
    """The largest directional derivatives of the loss by a module's output: as autograd claims, and as measured."""

    module: str
    claimed: float
    measured: float


def gate_reach(case: Case) -> Iterator[Reach]:
    """Each outermost module of the role controller that gives a tensor in the first batch's pass."""
    twin = case.twin().double()
    batch = _double(case.batches[0])
    with torch.no_grad(), repeatable():
        for parameter in twin.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    for name, module in _controllers(twin):
        yield from _of_module(case, twin, batch, name, module)


class _Shift:
    """Adds `value` to a module's output, but not to a gate of 0: a head that is off need not be computed."""

    def __init__(self) -> None:
        self.value: Tensor | None = None
        self.zeros: Tensor | None = None  # as the first output is

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        found = hidden_of(output)
        if found is None:
            return output
        self.zeros = torch.zeros_like(found) if self.zeros is None else self.zeros
        if self.value is None or self.value.shape != found.shape:
            return output
        return _added(output, self.value * (found != 0))


def _of_module(case: Case, twin: nn.Module, batch: Any, name: str, module: nn.Module) -> Iterator[Reach]:
    def loss() -> Tensor:
        with repeatable():
            return total(case.loss(twin, batch))

    shift = _Shift()
    handle = module.register_forward_hook(shift)
    try:
        loss()
        if shift.zeros is None:  # it is not used, or gives no tensor
            return
        shift.value = shift.zeros.clone().requires_grad_()
        at_rest = loss()
        gradient = torch.autograd.grad(at_rest, shift.value, allow_unused=True)[0] if at_rest.requires_grad else None
        generator = torch.Generator().manual_seed(0)
        claimed = measured = 0.0
        with torch.no_grad():
            for _ in range(DIRECTIONS):
                signs = torch.randint(0, 2, shift.zeros.shape, generator=generator).to(shift.zeros) * 2 - 1
                claimed = max(claimed, 0.0 if gradient is None else abs((gradient * signs).sum().item()))
                ends = []
                for sign in (1, -1):
                    shift.value = sign * STEP * signs
                    ends.append(loss().item())
                measured = max(measured, abs(ends[0] - ends[1]) / (2 * STEP))
        yield Reach(name or type(module).__name__, claimed, measured)
    finally:
        handle.remove()


def _controllers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    found: list[str] = []
    for name, module in model.named_modules():
        if getattr(module, "role", None) == "controller" and not any(name.startswith(f"{one}.") for one in found):
            found.append(name)
            yield name, module


def _added(output: Any, shift: Tensor) -> Any:
    """The output of a module with `shift` added to the tensor that `hidden_of` finds in it."""
    if isinstance(output, tuple) and not hasattr(output, "_fields"):
        return (_added(output[0], shift), *output[1:])
    if isinstance(output, Tensor):
        return output + shift
    if is_dataclass(output) and not isinstance(output, type):
        key = "weight" if hasattr(output, "weight") else "hidden"
        return replace(output, **{key: getattr(output, key) + shift})
    return output


def _double(batch: Any) -> Any:
    """The batch with its floats in double precision."""
    if isinstance(batch, Tensor):
        return batch.double() if batch.is_floating_point() else batch
    if isinstance(batch, Mapping):
        return {key: _double(part) for key, part in batch.items()}
    if isinstance(batch, (list, tuple)) and not hasattr(batch, "_fields"):
        return type(batch)(_double(part) for part in batch)
    return batch
