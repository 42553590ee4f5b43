"""What goes into a refinement and comes out of it: the stack's output, the carried state, the trace.

Legend: B batch, L length, D width, H heads, K supervised steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from headwise.reasoning.state import ControllerState
from headwise.routing.attention import LayerMemory
from headwise.routing.gates import Gates
from headwise.routing.layout import Mask


@dataclass(frozen=True)
class StackOutput:
    """One application of the stack: hidden [B, L, D], gates and memory of each layer, routing losses."""

    hidden: Tensor
    gates: list[Gates]
    memory: list[LayerMemory]
    losses: dict[str, Tensor]


class Stack(Protocol):
    """The blocks that are iterated."""

    def __call__(
        self,
        hidden: Tensor,
        mask: Mask,
        context: Tensor | None,
        memory: list[LayerMemory] | None,
        gates: Sequence[Tensor] | None,
    ) -> StackOutput: ...


@dataclass(frozen=True)
class Carry:
    """Everything that one forward pass may hand to the next.

    Attributes:
        hidden: [B, L, D], the hidden state; of two streams the answer.
        state: of the controller.
        steps: how many have led there; int64 [B] where examples differ, in whole segments.
        latent: [B, L, D], of two streams.
        fresh: bool [B], the examples that start afresh, whatever else is here in their rows; None: none of them.
    """

    hidden: Tensor
    state: ControllerState | None
    steps: int | Tensor = 0
    latent: Tensor | None = None
    fresh: Tensor | None = None

    def rows(self, index: Tensor) -> "Carry":
        """The carry of the examples in `index`."""
        return Carry(
            self.hidden[index],
            None if self.state is None else self.state.rows(index),
            self.steps[index] if isinstance(self.steps, Tensor) else self.steps,
            None if self.latent is None else self.latent[index],
            None if self.fresh is None else self.fresh[index],
        )

    def detach(self) -> "Carry":
        return replace(
            self,
            hidden=self.hidden.detach(),
            state=None if self.state is None else self.state.detach(),
            latent=None if self.latent is None else self.latent.detach(),
        )

    @staticmethod
    def joined(parts: "Sequence[Carry]", order: Tensor) -> "Carry":
        """The carries of different examples in one, in the given order. The number of steps is each example's where a
        part has them so, else that of the last part."""
        steps = parts[-1].steps
        if any(isinstance(part.steps, Tensor) for part in parts):
            own = [torch.as_tensor(part.steps, device=order.device).expand(len(part.hidden)) for part in parts]
            steps = torch.cat(own)[order]
        states = [part.state for part in parts if part.state is not None]
        latents = [part.latent for part in parts if part.latent is not None]
        return Carry(
            torch.cat([part.hidden for part in parts])[order],
            ControllerState.joined(states, order) if states else None,
            steps,
            torch.cat(latents)[order] if latents else None,
        )


@dataclass(frozen=True)
class Trace:
    """The result of a refinement. Rows are in the order of the input.

    Attributes:
        states: [K, B, L, D], hidden states of the supervised steps; at evaluation K = 1, where each example halted. Of
            two streams the answer after its updates.
        weights: [K, B], each column sums to 1; from the last step, the supervision schedule or the ponder distribution.
        steps: [B], refinement steps taken (in training with learned halting: the expected number).
        losses: named routing losses, unweighted, with gradient.
        carry: of the last step.
        gates: per step a list of the layers' gates, when asked for; a halted example keeps its last gates.
        loads: [layers, H], share of tokens that used each head, mean over the steps with gradient, detached; in
            training, where a bias or a budget is steered by it. Layers of all stacks, the first stack's first.
        numbers: [K], the step, from 1 and over all segments, after which each of the states stood; None: not known.
        residuals: [A, B], when asked for: how far each of A updates moved the answer
            (`headwise.reasoning.recursion.residual`), every step being one where there is one stream; a halted example
            keeps its last.
        halting: [B], where halting judges answers: the logit, with gradient, that each is right, where it stands.
    """

    states: Tensor
    weights: Tensor
    steps: Tensor
    losses: dict[str, Tensor]
    carry: Carry
    gates: list[list[Gates]] | None = None
    loads: Tensor | None = None
    numbers: Sequence[int] | None = None
    residuals: Tensor | None = None
    halting: Tensor | None = None
