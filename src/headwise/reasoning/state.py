"""The state of a recurrent controller between refinement steps, as a refiner handles it, whatever is in it."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor


class ControllerState:
    """State of a recurrent controller between steps; its subclasses are frozen dataclasses.

    Tensors have the examples as their first dimension; anything else is the same for all examples.
    """

    @property
    def slow_updates(self) -> Tensor | None:
        """[B, S, 1], how often a slow module has run, where there is one."""
        return None

    def rows(self, index: Tensor) -> Self:
        """The state of the examples in `index`."""
        return self._each(lambda part: part[index])

    def on_host(self) -> Self:
        """The state copied to the CPU; on an accelerator only queued, until it is synchronised."""
        return self._each(lambda part: part.to("cpu", non_blocking=True))

    def detach(self) -> Self:
        return self._each(torch.Tensor.detach)

    @staticmethod
    def joined(states: "Sequence[S]", order: Tensor) -> "S":
        """The states of different examples in one, in the given order; what is no tensor is taken from the last."""
        return states[-1]._each(lambda *parts: torch.cat(parts)[order], *states)

    def _each(self, change: Callable[..., Tensor], *states: "ControllerState") -> Self:
        """`change` applied to every tensor: of this state, or the same one of each of `states`."""
        parts: dict[str, Any] = {}
        for field in fields(cast(Any, self)):
            own = getattr(self, field.name)
            every = [getattr(state, field.name) for state in states or (self,)]
            parts[field.name] = change(*every) if isinstance(own, Tensor) else own
        return type(self)(**parts)


S = TypeVar("S", bound=ControllerState)
