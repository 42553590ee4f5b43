"""The arms that the laws walk: the shipped ones, variants for options that no shipped arm has, and for every example of
a registered part one that has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from headwise.errors import InputError
from headwise.files import read_yaml
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.refusals import TaskFacts
from headwise.models.sizes import ModelConfig
from headwise.reasoning import CONTROLLERS, HALTING, INITIAL_STATES, RECURSIONS
from headwise.reasoning.controllers import ClassicalConfig, HRMActConfig, HRMConfig
from headwise.reasoning.halting import CorrectHalting, EntropyHalting, PonderHalting
from headwise.reasoning.initial_states import FixedState, RandomState
from headwise.reasoning.recursion import TwoStreams
from headwise.reasoning.refinement import RefinementConfig
from headwise.registry import Registry
from headwise.routing import GATES, ROUTERS
from headwise.routing.balance import BalanceConfig
from headwise.routing.fixed_routers import StaticRouter
from headwise.routing.gates import Gumbel, Sigmoid, TopK
from headwise.routing.mixtures import Adaptive, ReLU, SharedRouted, TopP
from headwise.routing.routers import LearnedRouter
from headwise.schema import build

PARTS: Mapping[str, Registry[Any]] = {
    "router": ROUTERS,
    "gate": GATES,
    "controller": CONTROLLERS,
    "halting": HALTING,
    "refinement.recursion": RECURSIONS,
    "refinement.initial_state": INITIAL_STATES,
}
SHAPE = ModelConfig(width=16, heads=4, ffn=24, depth=2)
FOLDER = Path(__file__).parents[1] / "conf" / "arm"


RELATED = replace(SHAPE, structural_heads=2)
# As torch's encoder layer is without settings, but for biases; and as TRM and HRM have it.
POST = replace(SHAPE, norm_placement="post", activation="relu", bias=False)
RECURSIVE = replace(
    SHAPE,
    norm="rms_unscaled",
    norm_placement="post",
    activation="swiglu",
    bias=False,
    rotary=True,
    init="truncated_normal",
)


def shipped() -> dict[str, Arm]:
    return {path.stem: build(Arm, read_yaml(path), "arm") for path in sorted(FOLDER.glob("*.yaml"))}


def _loop(**changes: Any) -> RefinementConfig:
    return replace(RefinementConfig(steps=5, injection="input"), **changes)


def _streams(recursion: TwoStreams, **changes: Any) -> RefinementConfig:
    return replace(RefinementConfig(steps=2 * recursion.period, recursion=recursion), **changes)


HRM = Arm(router=LearnedRouter("sequence"), controller=HRMConfig(period=2), refinement=_loop())
TOKEN = replace(HRM, router=LearnedRouter("token"))
VARIANTS = {
    "mixture": replace(TOKEN, combine="mixture"),
    "top_k": replace(TOKEN, gate=TopK(2)),
    "top_k_renormalised": replace(TOKEN, gate=TopK(2, renormalise=True)),
    "gumbel": replace(HRM, gate=Gumbel(2)),
    "sigmoid": replace(HRM, gate=Sigmoid()),
    "layer": Arm(router=LearnedRouter("layer")),
    "pooled_input": Arm(router=LearnedRouter("sequence")),
    "additive_first": replace(HRM, controller=HRMConfig(period=2, additive=True, pool="first")),
    "act_token": replace(TOKEN, controller=HRMActConfig()),
    "entropy_halting": replace(HRM, halting=EntropyHalting(0.9), refinement=_loop(supervision="uniform")),
    "ponder_halting": replace(HRM, halting=PonderHalting(bias=-0.5)),
    "gradient_last": replace(HRM, refinement=_loop(gradient="last", supervision="uniform", steps=6)),
    "gradient_truncated": replace(HRM, refinement=_loop(gradient="truncated", window=2)),
    "ramp": replace(HRM, refinement=_loop(supervision="ramp")),
    "last_supervised": replace(HRM, refinement=_loop(supervision="uniform", supervised=2)),
    # The slow module runs once in each segment.
    "segments": replace(TOKEN, refinement=_loop(steps=2, segments=3)),
    "segments_of_one_step": Arm(LearnedRouter(), refinement=_loop(steps=1, segments=3)),
    "segments_last": replace(HRM, refinement=_loop(steps=4, segments=2, gradient="last", supervision="uniform")),
    "segments_reuse": Arm(
        LearnedRouter(), controller=ClassicalConfig(), refinement=_loop(steps=3, segments=2, reuse="keys_values")
    ),
    "reuse_keys_values": replace(HRM, refinement=_loop(reuse="keys_values")),
    "reuse_heads": replace(TOKEN, refinement=_loop(reuse="heads")),
    "two_shared": replace(TOKEN, gate=SharedRouted(2, 1), balance=BalanceConfig(("router_z",))),
    "moh_soft": Arm(router=LearnedRouter(), gate=SharedRouted(1, 2, training="soft")),
    "top_p_fixed": replace(TOKEN, gate=TopP(0.6, shared=1), balance=BalanceConfig(bias_rate=0.01)),
    "top_p_fallback": Arm(router=LearnedRouter(), gate=TopP(fallback=0.4, renormalise=True)),
    "top_p_soft": Arm(router=LearnedRouter(), gate=TopP(training="soft")),
    "adaptive_soft": Arm(
        router=LearnedRouter(),
        gate=Adaptive(training="soft"),
        balance=BalanceConfig(("complexity", "sparsity", "load_balance"), target=2.0),
    ),
    "adaptive_fixed": Arm(router=LearnedRouter(), gate=Adaptive(2.0, 3.0, sharpness=5.5, renormalise=True)),
    "adaptive_shared": replace(HRM, gate=Adaptive(shared=1), balance=BalanceConfig(target=2.5, bias_rate=0.01)),
    "elementwise_top_k": Arm(LearnedRouter(), TopK(2), output_gate="elementwise"),
    "elementwise_mixture": replace(TOKEN, combine="mixture", output_gate="elementwise"),
    "elementwise_reuse_heads": replace(TOKEN, refinement=_loop(reuse="heads"), output_gate="elementwise"),
    "composed_static": Arm(StaticRouter(2), composition_rank=2),
    "composed_top_k": replace(TOKEN, gate=TopK(2), composition_rank=1, output_gate="elementwise"),
    "composed_relu": Arm(LearnedRouter(), ReLU(), "mixture", balance=BalanceConfig(target=2), composition_rank=3),
    "composed_reuse": replace(HRM, refinement=_loop(reuse="keys_values"), composition_rank=2),
    "two_streams": replace(TOKEN, refinement=_streams(TwoStreams(3), supervision="uniform")),
    "two_networks": replace(HRM, gate=TopK(2), refinement=_streams(TwoStreams(2, 2), initial_state=FixedState(seed=3))),
    "two_networks_steered": Arm(
        LearnedRouter(),
        TopP(),
        balance=BalanceConfig(("load_balance",), 0.01, 2.5),
        refinement=_streams(TwoStreams(2, 2), segments=2, gradient="truncated", window=2),
    ),
    "two_streams_entropy_halting": replace(
        HRM, halting=EntropyHalting(0.9), refinement=_streams(TwoStreams(2), steps=6)
    ),
    "two_streams_ponder_halting": replace(
        HRM, halting=PonderHalting(bias=-0.5), refinement=_streams(TwoStreams(3), noise=0.1)
    ),
    "two_streams_random": replace(TOKEN, refinement=_streams(TwoStreams(3), initial_state=RandomState(), noise=0.2)),
    "fixed_state": Arm(LearnedRouter(), refinement=_loop(steps=1, initial_state=FixedState())),
    "random_state": replace(TOKEN, refinement=_loop(initial_state=RandomState(0.5), segments=2, noise=0.1)),
    "noise_entropy_halting": replace(HRM, halting=EntropyHalting(0.9), refinement=_loop(noise=0.1)),
    "correct_halting": replace(TOKEN, halting=CorrectHalting(bias=-0.5), refinement=_loop(steps=2, segments=3)),
    "two_streams_correct_halting": Arm(
        LearnedRouter(),
        halting=CorrectHalting(pool="mean", exploration=1.0),
        refinement=_streams(TwoStreams(2), segments=3, gradient="last", initial_state=RandomState(), noise=0.1),
    ),
    "relu_layer": Arm(router=LearnedRouter("layer"), gate=ReLU(), balance=BalanceConfig(target=2)),
    "relu_model": Arm(router=LearnedRouter(), gate=ReLU(), balance=BalanceConfig(target=2, over="model")),
}


@cache
def arms() -> dict[str, Arm]:
    """By name every arm that is walked.

    Raises:
        InputError: a registered part that no arm can have, so that no law would see it.
    """
    return named_arms() | {f"{key}:{name}": arm for key in PARTS for name, arm in arms_with(key).items()}


def named_arms() -> dict[str, Arm]:
    """The shipped arms and the variants."""
    return shipped() | VARIANTS


def arms_with(key: str, names: Sequence[str] = ()) -> dict[str, Arm]:
    """For every example of a kind of part that no named arm has (or for all examples of `names`) an arm that has it."""
    there = [] if names else [part_of(fitted(arm), key) for arm in named_arms().values()]
    return {
        f"{name}-{number}": admitted(key, example)
        for name in names or PARTS[key]
        for number, example in enumerate(examples(key, name))
        if example not in there
    }


def examples(key: str, name: str) -> Sequence[Any]:
    """What a registered part gives to be tested on.

    Raises:
        InputError: nothing.
    """
    found: Sequence[Any] = PARTS[key][name].examples()
    if not found:
        raise InputError(
            f"{PARTS[key].kind} {name!r}: has no examples, so no law covers it; return some from examples()"
        )
    return found


def every_example(key: str) -> list[Any]:
    """The examples of all registered parts of a kind."""
    return [example for name in PARTS[key] for example in examples(key, name)]


def admitted(key: str, part: Any) -> Arm:
    """An arm with this part that `check` lets through.

    Raises:
        InputError: none of those tried, with the last refusal.
    """
    refusal, first, _, rest = "", *key.partition(".")
    plain = (Arm(), Arm(LearnedRouter()), Arm(LearnedRouter("sequence")), TOKEN, HRM, VARIANTS["ponder_halting"])
    tried = (_loop(steps=6), _loop(steps=6, injection="none"), _loop(steps=2, segments=3))
    loops = (Arm(refinement=loop) for loop in tried)
    for other in (*loops, *plain):
        try:
            arm = replace(other, **{first: replace(getattr(other, first), **{rest: part}) if rest else part})
            check(arm, *stand_in(arm))
        except ValueError as error:
            refusal = str(error)
        else:
            return arm
    raise InputError(f"{part}: refused in every arm, so no law covers it; the last time: {refusal}")


def part_of(arm: Arm, key: str) -> Any:
    """The part of an arm that a key of `PARTS` names."""
    return attrgetter(key)(arm)


def stand_in(arm: Arm, causal: bool = False) -> tuple[TaskFacts, ModelConfig]:
    """What `check` is told of a task and a shape that have what the arm cannot do without."""
    if arm.router.follows_route:
        return TaskFacts(causal, ("first", "second"), hops=1, judged=True), RELATED
    return TaskFacts(causal, judged=True), SHAPE


def causal(arm: Arm) -> bool:
    """Whether the arm may be that of a causal model."""
    try:
        check(fitted(arm), *stand_in(arm, causal=True))
    except InputError:
        return False
    return True


def fitted(arm: Arm) -> Arm:
    """The arm for the four heads of these laws: at most two where it fixes a number."""
    changes = {key: replace(part, k=2) for key, part in _parts(arm).items() if (getattr(part, "k", None) or 0) > 2}
    return replace(arm, **changes)


def _parts(arm: Arm) -> dict[str, Any]:
    return {"router": arm.router, "gate": arm.gate}


def perturbed(
    arm: Arm, causal: bool = False, seed: int = 0, dtype: torch.dtype = torch.float64, shape: ModelConfig = SHAPE
) -> Backbone:
    """A backbone away from its start: a router at zero would hide what is behind it."""
    torch.default_generator.manual_seed(seed)  # that of the CPU, where models are built: a millisecond less each
    backbone = Backbone(shape, fitted(arm), causal).to(dtype)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for router in backbone.routers():
            if router.ranking_bias is not None:
                router.ranking_bias.normal_()
            if router.multiplier is not None:
                router.multiplier.fill_(0.1)
            if router.off_target is not None:
                router.off_target.fill_(0.1)
    return backbone
