"""A pass looked at step by step: the answer after each update, where the heads looked, what halting said.

Legend: B batch, L length, D width, H heads, A updates of the answer, N layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from headwise.models.backbone import Backbone
from headwise.routing.attention import RoutedAttention


@dataclass
class Seen:
    """What was seen of the latest pass.

    Attributes:
        states: A times [b, L, D], the answer after each of its updates, before the last norm, of the b examples that
            were still running.
        looks: A times N times [b, L, H, L], the attention weights at the step that updated the answer; empty unless
            asked for.
        halting: the step after which halting was asked, from 1, and what it said, [b].
        step: the last one.
    """

    states: list[Tensor] = field(default_factory=list)
    looks: list[list[Tensor]] = field(default_factory=list)
    halting: list[tuple[int, Tensor]] = field(default_factory=list)
    step: int = 0

    def clear(self) -> None:
        """Forget the pass before."""
        self.states, self.looks, self.halting, self.step = [], [], [], 0


@contextmanager
def following(backbone: Backbone, looks: bool = False) -> Iterator[Seen]:
    """Inside the block what a backbone does is kept, for one pass at a time.

    Args:
        backbone: in evaluation mode.
        looks: keep attention weights, too, [L, L] for each head: for an example or a few.
    """
    refiner, seen = backbone.refiner, Seen()
    layers = {id(stack): _layers(stack) for stack in refiner.stacks}
    now: dict[int, Tensor] = {}  # by layer, as last seen: what is used again is not computed again

    def begin(module: nn.Module, args: Any) -> None:
        seen.clear()
        now.clear()

    def look(module: nn.Module, args: Any) -> None:
        assert isinstance(module, RoutedAttention)
        x, gates, mask, memory = args
        if memory is None or memory.heads is None:
            now[id(module)] = module.looks(x, gates, mask, memory)

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        seen.step += 1
        if refiner.config.recursion.answers(seen.step):
            seen.states.append(output.hidden)
            if looks:
                seen.looks.append([now[id(layer)] for layer in layers[id(module)]])

    def say(module: nn.Module, args: Any, output: Tensor) -> None:
        seen.halting.append((seen.step, output))

    handles = [refiner.register_forward_pre_hook(begin)]
    handles += [stack.register_forward_hook(keep) for stack in refiner.stacks]
    if looks:
        handles += [layer.register_forward_pre_hook(look) for own in layers.values() for layer in own]
    if refiner.halting is not None:
        handles.append(refiner.halting.register_forward_hook(say))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _layers(stack: nn.Module) -> list[RoutedAttention]:
    return [module for module in stack.modules() if isinstance(module, RoutedAttention)]
