"""What stands between the two ends: the layers of the pretrained model, with routers in their attention.

Legend: B batch, L length, H heads, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from headwise.models.arm import Arm
from headwise.models.backbone import RoutedStack
from headwise.models.sizes import ModelConfig
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.reasoning.trace import Carry, Trace
from headwise.routing.layout import Layout
from headwise.routing.routers import Router
from headwise.tasks.pretrained.language_model import hidden_states


class PretrainedStack(RoutedStack):
    """The model's layers, applied once. It owns no weights: the task has the model, and routers are children of its
    attention layers.

    Args:
        language_model: of transformers; routers are put into it.
        model: its shape.
        arm: router, gate function and balance.
        trains: whether routers are trained.

    Raises:
        ValueError: an attention layer that is not understood, or an arm that it cannot follow.
    """

    role = "pretrained"

    def __init__(self, language_model: Any, model: ModelConfig, arm: Arm, trains: bool) -> None:
        super().__init__(model, arm)
        self.causal, self._checkpointing = True, False
        # In a list, as the task has it for a part
        self._language_model = [language_model]
        self.retrofitted: Retrofitted = retrofit(language_model.base_model, arm)
        for parameter in self.retrofitted.parameters():
            parameter.requires_grad_(trains)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | Layout | None = None,
        carry: Carry | None = None,
        gates: Sequence[Sequence[Tensor]] | None = None,
        record: bool = False,
    ) -> Trace:
        """Embedded tokens [B, L, D] to a trace of one step; arguments as of `Backbone.forward`, `carry` is not read."""
        padding = mask.padding if isinstance(mask, Layout) else mask
        added = self.retrofitted
        with nullcontext() if gates is None else added.forced(gates[0]):
            hidden = hidden_states(self._language_model[0], x, padding)
        trains = self.training and torch.is_grad_enabled()
        ones = hidden.new_ones(1, len(hidden))
        loads = added.loads() if trains and self.arm.balance.steers else []  # none of gates from outside
        return Trace(
            states=hidden[None],
            weights=ones,
            steps=ones[0],
            losses=added.losses() if trains else {},
            carry=Carry(hidden, None, 1),
            gates=[added.gates()] if record else None,
            loads=torch.stack(loads) if loads else None,
            numbers=(1,),
        )

    def routers(self) -> Iterator[Router]:
        """The routers of the layers, first to last."""
        return iter(self.retrofitted.routers)

    @property
    def checkpointing(self) -> bool:
        """Whether activations are computed once more in the backward pass."""
        return self._checkpointing

    @checkpointing.setter
    def checkpointing(self, on: bool) -> None:
        model = self._language_model[0]
        if on:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        elif self._checkpointing:
            model.gradient_checkpointing_disable()
        self._checkpointing = on

    def set_steps(self, steps: int) -> None:
        """Take so many refinement steps: one, as the model is applied once."""
        if steps != 1:
            raise ValueError(f"steps={steps}: a pretrained model is applied once; choose 1")

    def flops_per_example(self, length: int) -> float:
        """Forward FLOPs of one example, as `headwise.models.flops` counts them; every head is computed."""
        routed = {id(module) for router in self.routers() for module in router.modules()}
        maps = (m for m in self._language_model[0].base_model.modules() if _is_map(m) and id(m) not in routed)
        macs = float(sum(m.weight.numel() for m in maps) * length)
        for site in self.retrofitted.sites:  # scores, and means of values
            macs += 2 * site.heads * site.head_width * length * (length + 1) / 2
        return float(2 * (macs + sum(router.macs(length, length) for router in self.routers())))


def _is_map(module: nn.Module) -> bool:
    """Whether it is a linear map with a matrix of its own: nn.Linear and its kin, and GPT-2's Conv1D."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
