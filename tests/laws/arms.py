"""The arms that every law is tested on: the shipped ones, and one more for each option that no shipped arm uses."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml

import headwise
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import ClassicalConfig, HRMActConfig, HRMConfig
from headwise.reasoning.halting import EntropyHalting, PonderHalting
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.balance import BalanceConfig
from headwise.routing.gates import Gumbel, Sigmoid, TopK
from headwise.routing.mixtures import Adaptive, ReLU, SharedRouted, TopP
from headwise.routing.routers import LearnedRouter
from headwise.schema import build

SHAPE = ModelConfig(width=16, heads=4, ffn=24, depth=2)
FOLDER = Path(headwise.__file__).parent / "conf" / "arm"


@dataclass(frozen=True)
class Causal:
    """A stand-in for a task: what `check` asks of one."""

    causal: bool = False
    has_neighbours: bool = False
    has_positions: bool = False


def shipped() -> dict[str, Arm]:
    return {path.stem: build(Arm, yaml.safe_load(path.read_text()), "arm") for path in sorted(FOLDER.glob("*.yaml"))}


def _loop(**changes: object) -> RefinementConfig:
    return RefinementConfig(**{"steps": 5, "injection": "input", **changes})


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
    "relu_layer": Arm(router=LearnedRouter("layer"), gate=ReLU(), balance=BalanceConfig(target=2)),
}
ARMS = shipped() | VARIANTS


def grid(rows: int, columns: int) -> torch.Tensor:
    """Row and column of each cell, int64 [L, 2]."""
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns))


def fitted(arm: Arm) -> Arm:
    """The arm with at most as many refinement steps as these tests need; halves its heads where it fixes a number."""
    changes = {}
    if getattr(arm.router, "k", 0) > 2:
        changes["router"] = replace(arm.router, k=2)
    if getattr(arm.gate, "k", 0) > 2:
        changes["gate"] = replace(arm.gate, k=2)
    return replace(arm, **changes)


def perturbed(
    arm: Arm, causal: bool = False, seed: int = 0, dtype: torch.dtype = torch.float64, shape: ModelConfig = SHAPE
) -> Backbone:
    """A backbone away from its start: a router at zero would hide what is behind it."""
    torch.manual_seed(seed)
    backbone = Backbone(shape, fitted(arm), causal).to(dtype)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for router in backbone.routers():
            if router.ranking_bias is not None:
                router.ranking_bias.normal_()
            if router.multiplier is not None:
                router.multiplier.fill_(0.1)
    return backbone
