"""Gates changed from outside, in a trained model: heads taken away, noise added. What was learned stays as it is.

The change is made where gates meet the head outputs, behind router and forced gates alike; without a router every gate
is 1. So it means the same in every arm: what a router, a controller or a halting policy reads is not changed.

Legend: B batch, L length, H heads, N layers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from headwise.routing.attention import RoutedAttention

Change = Callable[[int, Tensor, int], Tensor]
"""(layer from 0, gates [B, L|1, H], L) -> gates of the same shape, or one row for each token."""


@dataclass(frozen=True)
class KeptHeads:
    """Some heads are on as they were, the others off.

    Args:
        on: bool [N, H].
    """

    on: Tensor

    def __call__(self, layer: int, gates: Tensor, length: int) -> Tensor:
        return gates * self.on[layer].to(gates)

    @classmethod
    def first(cls, order: Tensor, k: int) -> "KeptHeads":
        """The first k heads of each layer's order, int64 [N, H]."""
        return cls(torch.zeros_like(order, dtype=torch.bool).scatter(1, order[:, :k], True))


class GateNoise:
    """Normal noise on the gate of each token and head that is on, drawn anew at each layer and step; one that is off
    stays off.

    Args:
        deviation: its standard deviation, where 1 is the gate of plain attention. A gate may become negative.
        seed: of the draws, in the order of the passes.
    """

    def __init__(self, deviation: float, seed: int) -> None:
        self.deviation, self.generator = deviation, torch.Generator().manual_seed(seed)

    def __call__(self, layer: int, gates: Tensor, length: int) -> Tensor:
        each = gates.expand(-1, length, -1)
        noise = torch.randn(each.shape, generator=self.generator).to(each)  # drawn on the CPU: the same on each device
        return each + self.deviation * noise * (each != 0)


class GatesFromOutside(nn.Module):
    """A module that multiplies heads by gates where no `RoutedAttention` does, as in a pretrained model.

    Attributes:
        change: (gates [B, L|1, H], L) -> gates, to be applied before they meet the heads; None leaves them alone.
    """

    change: Callable[[Tensor, int], Tensor] | None = None


@contextmanager
def changed_gates(model: nn.Module, change: Change) -> Iterator[None]:
    """Inside the block the gates of all layers of the model, first to last, are changed."""
    layers = [module for module in model.modules() if isinstance(module, RoutedAttention | GatesFromOutside)]
    handles = []
    for layer, module in enumerate(layers):
        of_layer = partial(change, layer)
        if isinstance(module, GatesFromOutside):
            module.change = of_layer
        else:
            handles.append(module.register_forward_pre_hook(partial(_changed, of_layer)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in layers:
            if isinstance(module, GatesFromOutside):
                module.change = None


def _changed(change: Callable[[Tensor, int], Tensor], attention: RoutedAttention, args: tuple[Any, ...]) -> Any:
    """The arguments of `RoutedAttention.forward` with its gates changed."""
    x, gates, *rest = args
    if gates is None:
        gates = x.new_ones(len(x), 1, attention.shape.heads)
    return (x, change(gates, x.shape[1]), *rest)
