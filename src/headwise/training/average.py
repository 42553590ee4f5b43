"""An exponential moving average of the weights, evaluated in place of the weights themselves."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """a <- decay·a + (1 - decay)·w after each update; starts as the initial weights. Buffers are not averaged, and
    neither is what is not trained.

    Args:
        model: whose parameters are averaged.
        decay: share of the old average that stays; 0.999 looks back over about a thousand updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
        self._average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the current weights in."""
        self._average(list(self.weights.values()), [parameter.detach() for parameter in _trained(model)], 0)

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Inside the block the model has the averaged weights."""
        own = [parameter.detach().clone() for parameter in _trained(model)]
        _fill(model, self.weights.values())
        try:
            yield
        finally:
            _fill(model, own)

    def state_dict(self) -> dict[str, Tensor]:
        return self.weights

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, weight in self.weights.items():
            weight.copy_(state[name])


@torch.no_grad()
def _fill(model: nn.Module, weights: object) -> None:
    for parameter, weight in zip(_trained(model), weights, strict=True):  # type: ignore[call-overload]
        parameter.copy_(weight)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
