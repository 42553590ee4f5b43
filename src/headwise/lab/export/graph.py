"""A model as a function of tensors alone, which is what a graph can hold: all steps at once, or one step at a time.

    unrolled    question -> prediction
    one step    question, steps taken, state -> prediction, steps taken, state

Nothing here knows an arm or a task: a step is one segment of the refiner, handed on as a carry, with the examples that
have taken no step yet as fresh ones. Legend: B batch, L length, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import lcm
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.models.arm import Arm
from headwise.reasoning.refinement import RefinementConfig
from headwise.reasoning.trace import Carry, Trace
from headwise.routing.attention import RoutedAttention
from headwise.tasks.base import Batch, TaskModel

TAKEN = "steps_taken"
"""Input and output of a step: int64 [B], how many refinement steps an example has taken; at 0 it starts afresh, and
what is given as its state counts for nothing."""
AFTER = "next_"
"""Before the name of a state or count as a step returns it."""
LOGIT = "halting_logit"
"""Output of a step where halting judges answers: [B], the logit that the answer is right."""


class _Noted(dict[str, Tensor]):
    """A batch that notes which of its tensors are looked at."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.seen.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.seen.add(str(name))
        return super().__contains__(name)


@torch.no_grad()
def question(model: TaskModel, batch: Batch) -> tuple[str, ...]:
    """The tensors of a batch that a prediction is made from; what it is scored on is not among them."""
    noted = _Noted(batch)
    model.task.read_out(model(noted).states[-1], noted)
    return tuple(name for name in batch if name in noted.seen)


def outputs(prediction: Any) -> dict[str, Tensor]:
    """The tensors of a prediction by name: `prediction`, or those of a named tuple."""
    if isinstance(prediction, Tensor):
        return {"prediction": prediction}
    return dict(prediction._asdict())


def state_of(carry: Carry) -> dict[str, Tensor]:
    """What one step hands to the next, by name."""
    found = {"hidden": carry.hidden} | ({} if carry.latent is None else {"latent": carry.latent})
    if carry.state is None:
        return found
    parts = {field.name: getattr(carry.state, field.name) for field in fields(carry.state)}  # type: ignore[arg-type]
    return found | {f"controller_{name}": part for name, part in parts.items() if isinstance(part, Tensor)}


def _carry_of(template: Carry, state: Mapping[str, Tensor], taken: Tensor) -> Carry:
    """The reverse of `state_of`; what is no tensor is that of the template."""
    controller = template.state
    if controller is not None:
        own = {name.removeprefix("controller_"): part for name, part in state.items() if name.startswith("controller_")}
        controller = replace(controller, **own)  # type: ignore[type-var]
    return Carry(state["hidden"], controller, taken, state.get("latent"), taken == 0)


@dataclass(frozen=True)
class Pace:
    """How many refinement steps a step of the graph makes.

    Attributes:
        steps: of a segment, within which keys, values and head outputs are remembered.
        segments: in a step of the graph.
    """

    steps: int
    segments: int = 1

    @classmethod
    def of(cls, arm: Arm) -> "Pace":
        """The fewest that leave everything that goes by turns (two streams, a slow module) as it was found."""
        loop = arm.refinement
        remembers = loop.steps > 1 and (loop.reuse != "none" or arm.controller.reads_heads)
        turns = lcm(loop.recursion.cycle, arm.controller.slow_period or 1)
        return cls(loop.steps, lcm(loop.steps, turns) // loop.steps) if remembers else cls(turns)

    @property
    def in_all(self) -> int:
        """Refinement steps in a step of the graph."""
        return self.steps * self.segments

    def times(self, count: int, loop: RefinementConfig) -> RefinementConfig:
        """The refinement that takes so many steps of the graph at once."""
        return replace(
            loop, steps=self.steps, segments=self.segments * count, gradient="full", window=1, supervised=None
        )


class Graph(nn.Module):
    """A model as a function of the tensors named `names`, in this order; the model becomes part of it and is changed:
    it computes every head, whatever its gate.

    Args:
        model: in evaluation mode.
        names: of its question.
        loop: the refinement that it goes through.
    """

    def __init__(self, model: TaskModel, names: Sequence[str], loop: RefinementConfig) -> None:
        super().__init__()
        self.model, self.names = model, tuple(names)
        backbone = model.backbone
        backbone.arm = replace(backbone.arm, refinement=loop)
        backbone.refiner.config = loop
        for module in backbone.modules():
            if isinstance(module, RoutedAttention):
                module.skipping = "never"

    def _batch(self, tensors: Sequence[Tensor]) -> Batch:
        return dict(zip(self.names, tensors, strict=True))


class Unrolled(Graph):
    """question -> prediction, after all steps of the loop."""

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        batch = self._batch(tensors)
        return tuple(outputs(self.model.task.read_out(self.model(batch).states[-1], batch)).values())


class OneStep(Graph):
    """question, steps taken, state -> prediction, steps taken, state, and the judgement of a halting that judges.

    Args:
        batch: any examples, to see what state there is.
    """

    def __init__(self, model: TaskModel, names: Sequence[str], loop: RefinementConfig, batch: Batch) -> None:
        super().__init__(model, names, loop)
        # Whoever runs the steps halts: here all examples take each of them
        self.judge, model.backbone.refiner.halting = model.backbone.refiner.halting, None
        with torch.no_grad():
            self.template: Carry = model(batch).carry  # what in it is no tensor is the same after every step
        self.state = tuple(state_of(self.template))

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        asked, (taken, *state) = tensors[: len(self.names)], tensors[len(self.names) :]
        batch = self._batch(asked)
        carry = _carry_of(self.template, dict(zip(self.state, state, strict=True)), taken)
        x, layout = self.model.embed(batch)
        if layout.route is not None:  # numbered from the first step of all
            place = taken[:, None] + torch.arange(self.model.backbone.arm.refinement.steps_in_all, device=taken.device)
            route = F.pad(layout.route, (0, 1), value=-1)
            layout = replace(layout, route=route.gather(1, place.clamp_max(route.shape[1] - 1)))
        trace: Trace = self.model.backbone(x, layout, carry=carry)
        found = (*outputs(self.model.task.read_out(trace.states[-1], batch)).values(),)
        found += (torch.as_tensor(trace.carry.steps), *state_of(trace.carry).values())
        if self.judge is None:
            return found
        return *found, self.judge(trace.carry.hidden, layout.padding)
