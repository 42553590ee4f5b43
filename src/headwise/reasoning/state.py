"""The state of a recurrent controller between refinement steps, as a refiner handles it, whatever is in it."""

from collections.abc import Callable, Mapping, Sequence
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

    def afresh(self, rows: Tensor) -> Self:
        """The state in which the examples in `rows` (bool [B]) are at their start: at zero; a state that starts
        elsewhere says so."""
        return self._each(lambda part: part.masked_fill(rows.view(-1, *[1] * (part.dim() - 1)), 0))

    def to_plain(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint; `from_plain` reverses it."""
        return {"class": type(self).__qualname__} | {f.name: getattr(self, f.name) for f in fields(cast(Any, self))}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> "ControllerState":
        """The state that was written down so, of a controller that has been built already.

        Raises:
            ValueError: no such state is known.
        """
        known, waiting = dict[str, Any](), ControllerState.__subclasses__()
        while waiting:
            kind = waiting.pop()
            known[kind.__qualname__] = kind
            waiting += kind.__subclasses__()
        if plain["class"] not in known:
            raise ValueError(f"state of a controller: {plain['class']} is none of {', '.join(sorted(known))}")
        state: ControllerState = known[plain["class"]](**{key: part for key, part in plain.items() if key != "class"})
        return state

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
