"""An arm: one named configuration of router, gate function, controller, halting and refinement, and what is refused."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from headwise.errors import InputError
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import (
    CONTROLLERS,
    ClassicalConfig,
    ControllerConfig,
    HRMActConfig,
    HRMConfig,
    NoController,
)
from headwise.reasoning.halting import HALTING, EntropyHalting, FixedHalting, HaltingConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.balance import BalanceConfig
from headwise.routing.gates import GateFunction, Soft
from headwise.routing.mixtures import GATES, Adaptive
from headwise.routing.routers import ROUTERS, LearnedRouter, NoRouter, RandomRouter, RouterConfig, StaticRouter
from headwise.schema import named


@dataclass(frozen=True)
class Arm:
    """Choices that go together in every combination that `check` does not refuse.

    Args:
        router: where head logits come from.
        gate: head logits to gates.
        combine: how gated heads become the layer's output.
        controller: what gives the routers their context over refinement steps.
        halting: when refinement ends for an example.
        refinement: how the stack is iterated.
        balance: losses on the routers, and what steers their use of heads.
    """

    router: RouterConfig = named(ROUTERS, NoRouter())
    gate: GateFunction = named(GATES, Soft())
    combine: Literal["mask_concat", "mixture"] = "mask_concat"
    controller: ControllerConfig = named(CONTROLLERS, NoController())
    halting: HaltingConfig = named(HALTING, FixedHalting())
    refinement: RefinementConfig = RefinementConfig()
    balance: BalanceConfig = BalanceConfig()


class TaskFacts(Protocol):
    """What of a task decides which arms and shapes it takes."""

    @property
    def causal(self) -> bool: ...
    @property
    def has_neighbours(self) -> bool: ...
    @property
    def has_positions(self) -> bool: ...


def check(arm: Arm, task: TaskFacts, model: ModelConfig | None = None) -> None:
    """Refuse a combination in which something would have no effect, no gradient or no meaning.

    Args:
        arm: the combination.
        task: whether it is causal, and what its layout has.
        model: the shape where it is known; router, gate and task must fit it.

    Raises:
        InputError: one line with the key, its value, the reason and the remedy.
    """
    for refused, message in [*_rules(arm, task.causal), *_balance_rules(arm)]:
        if refused:
            raise InputError(message)
    if model is not None:
        _check_heads(arm, model.heads)
        for refused, message in _layout_rules(model, task):
            if refused:
                raise InputError(message)


def _rules(arm: Arm, causal: bool) -> list[tuple[bool, str]]:
    router, controller, halting, loop = arm.router, arm.controller, arm.halting, arm.refinement
    steers = not isinstance(controller, NoController)
    learned = isinstance(router, LearnedRouter)
    hrm = isinstance(controller, (HRMConfig, HRMActConfig))
    granularity = getattr(router, "granularity", None)
    shortened = loop.gradient != "full"
    kind = _name(CONTROLLERS, controller)
    first = loop.first_with_gradient(getattr(controller, "period", None))
    return [
        (
            steers and not learned,
            f"arm.controller.name={kind}: a {_name(ROUTERS, router)} router does not read the controller, which would "
            "never train; use arm.router.name=learned or arm.controller.name=none",
        ),
        (
            steers and granularity == "layer",
            f"arm.router.granularity=layer: a learned constant does not read controller {kind}; use token or sequence",
        ),
        (
            isinstance(router, (NoRouter, StaticRouter)) and not isinstance(arm.gate, Soft),
            f"arm.gate.name={_name(GATES, arm.gate)}: router {_name(ROUTERS, router)} has no logits for it; "
            "use arm.gate.name=soft or another router",
        ),
        (
            causal and granularity == "sequence",
            "arm.router.granularity=sequence: in a causal model a gate of the whole sequence sees the future; "
            "use token or layer",
        ),
        (
            causal and not isinstance(halting, FixedHalting),
            f"arm.halting.name={_name(HALTING, halting)}: halting looks at the whole sequence, which a causal model "
            "must not; use fixed",
        ),
        (
            isinstance(controller, HRMConfig) and loop.steps_in_all <= controller.period,
            f"arm.controller.period={getattr(controller, 'period', 0)}: with {loop.steps_in_all} refinement steps the "
            "slow module runs once and its recurrent weights never train; choose "
            f"1..{max(loop.steps_in_all - 1, 1)} or more arm.refinement.steps",
        ),
        (
            # What the classical one reads of the step before is not carried from segment to segment.
            (isinstance(controller, ClassicalConfig) and loop.steps < 3)
            or (isinstance(controller, HRMActConfig) and loop.steps_in_all < 3),
            f"arm.refinement.steps={loop.steps}: controller {kind} needs at least 3 steps to reach all its weights",
        ),
        (
            loop.steps_in_all == 1 and not isinstance(halting, FixedHalting),
            f"arm.halting.name={_name(HALTING, halting)}: with 1 refinement step there is nothing to halt; "
            "use fixed or more arm.refinement.steps",
        ),
        (
            isinstance(halting, EntropyHalting)
            and (isinstance(router, (NoRouter, StaticRouter)) or not arm.gate.softmax),
            "arm.halting.name=entropy: needs a router with a softmax gate (all but sigmoid, relu); use fixed or ponder",
        ),
        (
            isinstance(halting, EntropyHalting) and granularity == "layer",
            "arm.halting.name=entropy: with layer granularity the entropy is the same for every example and step; "
            "use token or sequence",
        ),
        (
            halting.learned and not steers,
            "arm.halting.name=ponder: reads the controller's context; choose arm.controller.name=hrm, hrm_act or "
            "classical",
        ),
        (
            halting.learned and loop.supervision != "last",
            f"arm.refinement.supervision={loop.supervision}: ponder halting already weighs the steps; use last",
        ),
        (
            halting.learned and shortened,
            f"arm.refinement.gradient={loop.gradient}: ponder halting needs every step's gradient; use full",
        ),
        (
            shortened and loop.injection != "input",
            f"arm.refinement.gradient={loop.gradient}: without arm.refinement.injection=input the embedding gets no "
            "gradient",
        ),
        (
            shortened and loop.reuse != "none",
            f"arm.refinement.gradient={loop.gradient}: reuse={loop.reuse} computes keys or heads in steps without "
            "gradient; use reuse=none or gradient=full",
        ),
        (
            shortened and isinstance(controller, HRMActConfig),
            f"arm.refinement.gradient={loop.gradient}: hrm_act decides itself when the slow module runs, so no window "
            "is sure to hold an update; use full",
        ),
        (
            loop.gradient == "truncated" and loop.window == loop.steps,
            f"arm.refinement.window={loop.window}: all {loop.steps} steps are in the window; use gradient=full",
        ),
        (
            loop.gradient == "last" and first == 1 and loop.steps > 1,
            "arm.refinement.gradient=last: the last slow update is the first step; use full",
        ),
        (
            isinstance(controller, HRMConfig)
            and loop.gradient == "truncated"
            and not any((t - 1) % controller.period == 0 for t in range(first, loop.steps + 1)),
            f"arm.refinement.window={loop.window}: no update of the slow module (every "
            f"{getattr(controller, 'period', 0)} steps) falls into it, so it never trains; widen it or use "
            "gradient=last",
        ),
        (
            shortened and loop.steps == 1,
            f"arm.refinement.gradient={loop.gradient}: with 1 refinement step there is nothing to cut; use full",
        ),
        (
            loop.gradient != "truncated" and loop.window != 1,
            f"arm.refinement.window={loop.window}: has an effect only with arm.refinement.gradient=truncated",
        ),
        (
            loop.supervision != "last" and loop.steps - first < 1,
            f"arm.refinement.supervision={loop.supervision}: only one step is trained; use last or more steps",
        ),
        (
            loop.supervised is not None and loop.supervision == "last",
            f"arm.refinement.supervised={loop.supervised}: has an effect only with arm.refinement.supervision=uniform "
            "or ramp",
        ),
        (
            loop.supervised is not None and not 1 < loop.supervised <= loop.steps - first + 1,
            f"arm.refinement.supervised={loop.supervised}: choose 2..{loop.steps - first + 1}, steps with gradient, or "
            "arm.refinement.supervision=last",
        ),
        (
            (loop.steps_in_all == 1 and loop.injection != "none") or (loop.steps == 1 and loop.reuse != "none"),
            f"arm.refinement.steps=1: injection={loop.injection} and reuse={loop.reuse} act from the second step on; "
            "use none or more steps",
        ),
        (
            loop.segments > 1 and loop.injection != "input",
            f"arm.refinement.segments={loop.segments}: later segments start from a detached state, so without "
            "arm.refinement.injection=input they do not train the embedding",
        ),
        (
            loop.segments > 1 and halting.learned,
            f"arm.refinement.segments={loop.segments}: ponder halting learns where to stop within one segment and "
            "would never reach another; use fixed or entropy, or segments=1",
        ),
        (
            loop.segments > 1
            and shortened
            and isinstance(controller, HRMConfig)
            and loop.steps % controller.period != 0,
            f"arm.refinement.segments={loop.segments}: with gradient={loop.gradient} the window would lie differently "
            f"in each segment; choose arm.refinement.steps a multiple of {getattr(controller, 'period', 1)} (the "
            "controller's period)",
        ),
        (
            loop.reuse == "heads" and not learned and not isinstance(router, RandomRouter),
            "arm.refinement.reuse=heads: only the gates change over steps, and this arm has none that do; use "
            "keys_values",
        ),
        (
            hrm and causal and getattr(controller, "pool", "mean") == "first",
            "arm.controller.pool=first: in a causal model every position would read the same first token; use mean",
        ),
    ]


def _balance_rules(arm: Arm) -> list[tuple[bool, str]]:
    balance, gate, losses = arm.balance, arm.gate, arm.balance.losses
    router, kind = _name(ROUTERS, arm.router), _name(GATES, gate)
    constant = getattr(arm.router, "granularity", None) == "layer"
    repeated = sorted({name for name in losses if losses.count(name) > 1})
    return [
        (
            bool(repeated),
            f"arm.balance.losses={list(losses)}: {', '.join(repeated)} twice; name each once (its weight is "
            "training.losses.<name>)",
        ),
        (
            bool(losses) and not isinstance(arm.router, LearnedRouter),
            f"arm.balance.losses={list(losses)}: a {router} router learns nothing from them; use "
            "arm.router.name=learned or no losses",
        ),
        (
            balance.target is not None and not isinstance(arm.router, LearnedRouter),
            f"arm.balance.target={balance.target}: a {router} router cannot be steered; use arm.router.name=learned or "
            "null",
        ),
        (
            bool(balance.bias_rate) and isinstance(arm.router, (NoRouter, StaticRouter)),
            f"arm.balance.bias_rate={balance.bias_rate}: a {router} router ranks no heads; use "
            "arm.router.name=learned or 0",
        ),
        (
            "load_balance" in losses and not gate.selects,
            f"arm.balance.losses={list(losses)}: load_balance has no effect with gate {kind}, which ranks no heads; "
            "use gate top_k, gumbel, shared_routed, top_p or adaptive",
        ),
        (
            bool(balance.bias_rate) and not gate.selects,
            f"arm.balance.bias_rate={balance.bias_rate}: gate {kind} ranks no heads; use 0, or gate top_k, gumbel, "
            "shared_routed, top_p or adaptive",
        ),
        (
            constant and ("load_balance" in losses or bool(balance.bias_rate)),
            "arm.router.granularity=layer: all tokens use the same heads, so there is no load to balance; use token or "
            "sequence, or neither load_balance nor bias_rate",
        ),
        (
            "router_z" in losses and not gate.softmax,
            f"arm.balance.losses={list(losses)}: router_z is about the logits of a softmax, gate {kind} has none; "
            "leave it out",
        ),
        (
            "complexity" in losses and not isinstance(gate, Adaptive),
            f"arm.balance.losses={list(losses)}: complexity compares with a predicted head budget, gate {kind} has "
            "none; use gate adaptive",
        ),
        (
            "sparsity" in losses and not gate.varies,
            f"arm.balance.losses={list(losses)}: sparsity has no effect with gate {kind}, whose number of active heads "
            "is fixed; use gate top_p, adaptive or relu",
        ),
        (
            balance.target is not None and not gate.varies,
            f"arm.balance.target={balance.target}: gate {kind} has a fixed number of active heads; set "
            "arm.gate.k where it has one, or use gate top_p, adaptive or relu",
        ),
    ]


def _layout_rules(model: ModelConfig, task: TaskFacts) -> list[tuple[bool, str]]:
    near, radius = model.structural_heads, model.relative
    wanted = f"model.structural_heads={near}" if near else f"model.relative={radius}"
    return [
        (
            task.causal and bool(near or radius),
            f"{wanted}: a causal model reads its past through a cache that knows no layout; use 0",
        ),
        (
            bool(near) and not task.has_neighbours,
            f"{wanted}: the task does not say which tokens are neighbours; use 0, or a task that does",
        ),
        (
            bool(radius) and not task.has_positions,
            f"model.relative={radius}: the task's tokens have no rows and columns; use 0, or a task on a grid",
        ),
    ]


def _check_heads(arm: Arm, heads: int) -> None:
    try:
        arm.gate.validate(heads)
        arm.balance.validate(arm.gate, heads)
    except ValueError as error:
        raise InputError(str(error)) from error
    if isinstance(arm.router, StaticRouter) and arm.router.k > heads:
        raise InputError(f"arm.router.k={arm.router.k} but the block has {heads} heads; choose 1..{heads}")


def _name(registry: dict[str, type], config: Any) -> str:
    return next(name for name, cls in registry.items() if type(config) is cls)
