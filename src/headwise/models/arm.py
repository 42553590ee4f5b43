"""An arm: one named configuration of router, gate function, controller, halting and refinement."""

from dataclasses import dataclass
from typing import Literal

from headwise.errors import InputError
from headwise.models.refusals import TaskFacts, refusals
from headwise.models.sizes import ModelConfig
from headwise.reasoning import CONTROLLERS, HALTING
from headwise.reasoning.controllers import ControllerConfig, NoController
from headwise.reasoning.halting import FixedHalting, HaltingConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing import GATES, ROUTERS
from headwise.routing.attention import OutputGating
from headwise.routing.balance import BalanceConfig
from headwise.routing.gates import GateFunction, Soft
from headwise.routing.routers import NoRouter, RouterConfig
from headwise.schema import named

PARTS = {"router": RouterConfig, "gate": GateFunction, "controller": ControllerConfig, "halting": HaltingConfig}


@dataclass(frozen=True)
class Arm:
    """Choices that go together in every combination that `check` does not refuse.

    Args:
        router: where head logits come from.
        gate: head logits to gates.
        combine: how gated heads become the layer's output.
        output_gate: none (default), or elementwise: beside the router's gate for each head, a gate for each channel of
            each head, read from the normed input (`headwise.routing.output_gates`).
        composition_rank: R at which the heads of a token lend each other their attention
            (`headwise.routing.composition`; 2 in its authors' code); default 0: each attends by itself.
        controller: what gives the routers their context over refinement steps.
        halting: when refinement ends for an example.
        refinement: how the stack is iterated.
        balance: losses on the routers, and what steers their use of heads.

    Raises:
        InputError: a part is of a class that cannot be one.
        ValueError: composition_rank below 0.
    """

    router: RouterConfig = named(ROUTERS, NoRouter())
    gate: GateFunction = named(GATES, Soft())
    combine: Literal["mask_concat", "mixture"] = "mask_concat"
    controller: ControllerConfig = named(CONTROLLERS, NoController())
    halting: HaltingConfig = named(HALTING, FixedHalting())
    refinement: RefinementConfig = RefinementConfig()
    balance: BalanceConfig = BalanceConfig()
    output_gate: OutputGating = "none"
    composition_rank: int = 0

    def __post_init__(self) -> None:
        if self.composition_rank < 0:
            raise ValueError(f"composition_rank={self.composition_rank}: choose a rank of at least 1, or 0 for none")
        for key, kind in PARTS.items():
            part = getattr(self, key)
            if not isinstance(part, kind):
                raise InputError(
                    f"arm.{key}={type(part).__module__}.{type(part).__qualname__}: not a part of that kind; derive its "
                    f"class from headwise.{kind.__name__}"
                )


def check(arm: Arm, task: TaskFacts, model: ModelConfig | None = None) -> None:
    """Refuse a combination in which something would have no effect, no gradient or no meaning.

    Args:
        arm: the combination.
        task: whether it is causal, what its layout has, and which steps have targets of their own.
        model: the shape where it is known; router, gate and task must fit it.

    Raises:
        InputError: one line with the key, its value, the reason and the remedy.
    """
    for message in refusals(arm, task, model):
        raise InputError(message)
