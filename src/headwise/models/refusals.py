"""What is refused: combinations in which something would have no effect, no gradient or no meaning, and why.

A refusal is one line: the key with its value, the reason, the remedy. The rules ask what the parts of an arm declare
(`RouterConfig.scores`, `ControllerConfig.least_steps`, ...), so they hold for parts from plugins as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwise.models.halting_refusals import of_judgement
from headwise.models.refinement_refusals import of_refinement
from headwise.models.refused_shapes import of_shape
from headwise.reasoning import CONTROLLERS, HALTING, INITIAL_STATES
from headwise.registry import name_of
from headwise.routing import GATES, ROUTERS
from headwise.routing.gates import Soft

if TYPE_CHECKING:
    from headwise.models.arm import Arm
    from headwise.models.sizes import ModelConfig


@dataclass(frozen=True)
class TaskFacts:
    """What of a task decides which arms and shapes it takes.

    Attributes:
        causal: position i may see only positions up to i.
        relations: names of those that its layout has, in their order.
        has_positions: its layout says where on a grid the tokens are.
        hops: of its layout's route, the most relations that are followed one after the other; 0 without a route.
        targets: refinement steps that have a target of their own, the last of them the answer; 0 where all steps have
            the same.
        once: its stack is a model that is there already and is applied once.
        judged: it has a metric that says whether an answer is right as a whole.
    """

    causal: bool = False
    relations: tuple[str, ...] = ()
    has_positions: bool = False
    hops: int = 0
    targets: int = 0
    once: bool = False
    judged: bool = False


def refusals(arm: Arm, task: TaskFacts, model: ModelConfig | None) -> Iterator[str]:
    """Every reason to refuse the combination, in the order of their subjects; nothing where it works."""
    if task.once:
        yield from _of_application(arm)
    yield from _of_routing(arm, task.causal)
    yield from _of_reading(arm)
    yield from _of_controller(arm, task.causal)
    yield from _of_halting(arm, task.causal)
    yield from of_judgement(arm, task)
    yield from of_refinement(arm, task.targets)
    yield from _of_balance(arm)
    yield from _of_route(arm, task)
    if model is not None:
        yield from _of_heads(arm, model)
        yield from of_shape(model, task)
        if arm.router.follows_route and not model.n_structural:
            yield (
                f"arm.router.name={_router(arm)}: no head follows a relation (model.structural_heads=0); choose "
                "model.structural_heads=1 or more"
            )


def _of_application(arm: Arm) -> Iterator[str]:
    """What a pretrained model, which has an attention of its own and is applied once, cannot follow."""
    why = "the task's stack is a pretrained model, "
    if _controller(arm) != "none":
        yield f"arm.controller.name={_controller(arm)}: {why}which is applied once; use none"
    if (name := name_of(HALTING, type(arm.halting))) != "fixed":
        yield f"arm.halting.name={name}: {why}which is applied once; use fixed"
    if arm.refinement.steps_in_all > 1:
        loop = arm.refinement
        key = f"steps={loop.steps}" if loop.steps > 1 else f"segments={loop.segments}"
        yield f"arm.refinement.{key}: {why}which is applied once; use 1"
    if not arm.refinement.initial_state.embeds:
        name = name_of(INITIAL_STATES, type(arm.refinement.initial_state))
        yield f"arm.refinement.initial_state.name={name}: {why}which starts from its input; use embedding"
    for key, plain in (("combine", "mask_concat"), ("output_gate", "none"), ("composition_rank", 0)):
        if getattr(arm, key) != plain:
            yield f"arm.{key}={getattr(arm, key)}: {why}which keeps its own attention; use {plain}"


def _of_routing(arm: Arm, causal: bool) -> Iterator[str]:
    router, controller = arm.router, arm.controller
    if controller.steers and router.granularity == "layer":
        yield (
            f"arm.router.granularity=layer: a learned constant does not read controller {_controller(arm)}; use token "
            "or sequence"
        )
    elif controller.steers and not router.reads_context:
        yield (
            f"arm.controller.name={_controller(arm)}: a {_router(arm)} router does not read the controller, which "
            "would never train; use arm.router.name=learned or arm.controller.name=none"
        )
    if not router.scores and not isinstance(arm.gate, Soft):
        yield (
            f"arm.gate.name={_gate(arm)}: router {_router(arm)} has no logits for it; "
            "use arm.gate.name=soft or another router"
        )
    if causal and router.granularity == "sequence":
        yield (
            "arm.router.granularity=sequence: in a causal model a gate of the whole sequence sees the future; "
            "use token or layer"
        )


def _of_reading(arm: Arm) -> Iterator[str]:
    router, key = arm.router, f"arm.router.reads={arm.router.reads}"
    if router.reads is None:
        return
    if router.granularity == "layer":
        yield f"{key}: a learned constant reads no input; use null, or granularity token or sequence"
    elif router.granularity == "sequence" and arm.controller.steers:
        yield f"{key}: with granularity=sequence the router reads the controller alone; use null, or granularity=token"


def _of_controller(arm: Arm, causal: bool) -> Iterator[str]:
    controller, loop = arm.controller, arm.refinement
    period = controller.slow_period
    if period is not None and loop.steps_in_all <= period:
        yield (
            f"arm.controller.period={period}: with {loop.steps_in_all} refinement steps the slow module runs once and "
            f"its recurrent weights never train; choose 1..{max(loop.steps_in_all - 1, 1)} or more arm.refinement.steps"
        )
    if controller.steers and (cycle := loop.recursion.cycle) > 1 and loop.steps_in_all == cycle:
        yield (
            f"arm.refinement.steps={loop.steps}: a controller reads the answer, which is updated once, at the last "
            f"step, so that it would see the initial state alone; choose {2 * cycle} or more, or "
            "arm.controller.name=none"
        )
    if (loop.steps_in_all if controller.carries_state else loop.steps) < controller.least_steps:
        yield (
            f"arm.refinement.steps={loop.steps}: controller {_controller(arm)} needs at least "
            f"{controller.least_steps} steps to reach all its weights"
        )
    if causal and controller.reads_first_token:
        yield ("arm.controller.pool=first: in a causal model every position would read the same first token; use mean")


def _of_halting(arm: Arm, causal: bool) -> Iterator[str]:
    halting, loop = arm.halting, arm.refinement
    if not halting.halts:
        return
    key = f"arm.halting.name={name_of(HALTING, type(halting))}"
    if causal:
        yield f"{key}: halting looks at the whole sequence, which a causal model must not; use fixed"
    if loop.steps_in_all == 1:
        yield f"{key}: with 1 refinement step there is nothing to halt; use fixed or more arm.refinement.steps"
    elif loop.steps_in_all == loop.recursion.cycle:
        yield f"{key}: the answer is updated once, so there is nothing to halt; use fixed or more arm.refinement.steps"
    if halting.reads_distribution and not (arm.router.scores and arm.gate.softmax):
        yield f"{key}: needs a router with a softmax gate (all but sigmoid, relu); use fixed or ponder"
    if halting.reads_distribution and arm.router.granularity == "layer":
        yield (
            f"{key}: with layer granularity the entropy is the same for every example and step; use token or sequence"
        )
    if halting.reads_context and not arm.controller.steers:
        yield f"{key}: reads the controller's context; choose arm.controller.name=hrm, hrm_act or classical"
    if halting.learned and loop.supervision != "last":
        yield f"arm.refinement.supervision={loop.supervision}: ponder halting already weighs the steps; use last"
    if halting.learned and loop.gradient != "full":
        yield f"arm.refinement.gradient={loop.gradient}: ponder halting needs every step's gradient; use full"


def _of_route(arm: Arm, task: TaskFacts) -> Iterator[str]:
    if not arm.router.follows_route:
        return
    key, steps, hops = f"arm.router.name={_router(arm)}", arm.refinement.steps_in_all, task.hops
    if task.causal:
        yield f"{key}: a causal model knows no layout, and so no relation to follow; use another router"
    elif not hops:
        yield f"{key}: the task does not say which relation is to be followed; use another router"
    elif steps < hops:
        yield f"{key}: follows {hops} relations, one a step, in {steps}; choose arm.refinement.steps={hops} or more"


def _of_balance(arm: Arm) -> Iterator[str]:
    balance, router, gate, losses = arm.balance, arm.router, arm.gate, arm.balance.losses
    key = f"arm.balance.losses={list(losses)}"
    if repeated := sorted({name for name in losses if losses.count(name) > 1}):
        yield f"{key}: {', '.join(repeated)} twice; name each once (its weight is training.losses.<name>)"
    if losses and not router.learned:
        yield f"{key}: a {_router(arm)} router learns nothing from them; use arm.router.name=learned or no losses"
    if balance.target is not None and not router.learned:
        yield (
            f"arm.balance.target={balance.target}: a {_router(arm)} router cannot be steered; use "
            "arm.router.name=learned or null"
        )
    if balance.bias_rate and not router.scores:
        yield (
            f"arm.balance.bias_rate={balance.bias_rate}: a {_router(arm)} router ranks no heads; use "
            "arm.router.name=learned or 0"
        )
    if "load_balance" in losses and not gate.selects:
        yield (
            f"{key}: load_balance has no effect with gate {_gate(arm)}, which ranks no heads; use gate top_k, gumbel, "
            "shared_routed, top_p or adaptive"
        )
    if balance.bias_rate and not gate.selects:
        yield (
            f"arm.balance.bias_rate={balance.bias_rate}: gate {_gate(arm)} ranks no heads; use 0, or gate top_k, "
            "gumbel, shared_routed, top_p or adaptive"
        )
    if router.granularity == "layer" and ("load_balance" in losses or balance.bias_rate):
        yield (
            "arm.router.granularity=layer: all tokens use the same heads, so there is no load to balance; use token "
            "or sequence, or neither load_balance nor bias_rate"
        )
    if "router_z" in losses and not gate.softmax:
        yield (f"{key}: router_z is about the logits of a softmax, gate {_gate(arm)} has none; leave it out")
    if "complexity" in losses and not gate.predicts_budget:
        yield (
            f"{key}: complexity compares with a predicted head budget, gate {_gate(arm)} has none; use gate adaptive"
        )
    if "sparsity" in losses and not gate.varies:
        yield (
            f"{key}: sparsity has no effect with gate {_gate(arm)}, whose number of active heads is fixed; use gate "
            "top_p, adaptive or relu"
        )
    if balance.target is not None and not gate.varies:
        yield (
            f"arm.balance.target={balance.target}: gate {_gate(arm)} has a fixed number of active heads; set "
            "arm.gate.k where it has one, or use gate top_p, adaptive or relu"
        )


def _of_heads(arm: Arm, model: ModelConfig) -> Iterator[str]:
    heads, rank = model.heads, arm.composition_rank
    try:
        arm.gate.validate(heads)
        arm.balance.validate(arm.gate, heads)
        arm.router.validate(heads)
    except ValueError as error:
        yield str(error)
    if arm.router.reads is not None and arm.router.reads > model.width:
        yield f"arm.router.reads={arm.router.reads}: the input has {model.width} dimensions; choose 1..{model.width}"
    if rank and heads == 1:
        yield f"arm.composition_rank={rank}: a single head has none to lend it attention; use 0 or more model.heads"
    elif rank > heads:
        yield f"arm.composition_rank={rank}: the block has {heads} heads; choose 1..{heads}, or 0 for none"
    if rank and model.n_structural:
        yield (
            f"arm.composition_rank={rank}: a structural head would look, with what others lend it, where it may not; "
            "use 0, or model.structural_heads=0"
        )


def _router(arm: Arm) -> str:
    return name_of(ROUTERS, type(arm.router))


def _gate(arm: Arm) -> str:
    return name_of(GATES, type(arm.gate))


def _controller(arm: Arm) -> str:
    return name_of(CONTROLLERS, type(arm.controller))
