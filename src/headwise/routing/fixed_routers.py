"""Routers that learn nothing, the controls of those that do: a fixed set of heads, a random choice by the input, and
the choice that the task knows to be right.

Legend: B batch, L length, H heads, D width; N numbers per token that the gate function takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from headwise.routing.balance import BalanceConfig
from headwise.routing.gates import GateFunction, Gates
from headwise.routing.pooling import pooled
from headwise.routing.routers import OFF, Router, RouterConfig, Scored


@dataclass(frozen=True)
class StaticRouter(RouterConfig):
    """a fixed set of k heads per layer, drawn once from the seed (control)

    Args:
        k: heads that are on; default 4, half of the default eight.
        seed: of the draw; each layer draws its own set.
    """

    k: int = 4
    seed: int = 0
    scores: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k}: choose at least 1")

    def build(
        self, gate: GateFunction, width: int, heads: int, context: int = 0, layer: int = 0, balance: BalanceConfig = OFF
    ) -> "Static":
        return Static(self, gate, heads, layer)

    def validate(self, heads: int) -> None:
        if self.k > heads:
            raise ValueError(f"arm.router.k={self.k} but the block has {heads} heads; choose 1..{heads}")

    def describe(self) -> str:
        return f"a fixed choice of {self.k} heads"

    @classmethod
    def examples(cls) -> "Sequence[StaticRouter]":
        return [cls(k=1)]


@dataclass(frozen=True)
class RandomRouter(RouterConfig):
    """a frozen random projection of the input (control)

    Args:
        granularity: token (default) or sequence.
        seed: of the projection; each layer draws its own.
        scale: standard deviation of the head logits; default 1, so that a softmax over them is far from uniform.
    """

    granularity: Literal["token", "sequence"] = "token"
    seed: int = 0
    scale: float = 1.0

    def build(
        self, gate: GateFunction, width: int, heads: int, context: int = 0, layer: int = 0, balance: BalanceConfig = OFF
    ) -> "Random":
        return Random(self, gate, width, heads, layer, balance)

    def describe(self) -> str:
        return f"frozen random router per {self.granularity}"

    @classmethod
    def examples(cls) -> "Sequence[RandomRouter]":
        return [cls("token"), cls("sequence")]


@dataclass(frozen=True)
class OracleRouter(RouterConfig):
    """heads of the relation that the task says is to be followed at each step: what choosing right could do (reference)

    The layout's route says which (`headwise.routing.layout.gates_of_route`); where it has none every gate is 1.
    """

    scores: ClassVar[bool] = False
    follows_route: ClassVar[bool] = True

    def build(
        self, gate: GateFunction, width: int, heads: int, context: int = 0, layer: int = 0, balance: BalanceConfig = OFF
    ) -> "Oracle":
        return Oracle(gate, heads, OFF)

    def describe(self) -> str:
        return "oracle router: the heads of the relation that the task follows at each step"


class Random(Scored):
    """`RandomRouter` as a module: its projection is a buffer, saved with the weights."""

    projection: Tensor

    def __init__(
        self,
        config: RandomRouter,
        gate: GateFunction,
        width: int,
        heads: int,
        layer: int,
        balance: BalanceConfig = OFF,
    ) -> None:
        super().__init__(gate, heads, balance)
        self.granularity = config.granularity
        generator = torch.Generator().manual_seed(config.seed * 1009 + layer)
        scale = config.scale / width**0.5  # a normed input has about unit variance per channel
        # Drawn on the CPU, whatever the default device, so that a seed means the same everywhere.
        drawn = torch.randn(width, sum(self.columns.values()), generator=generator, device="cpu") * scale
        self.register_buffer("projection", drawn.to(torch.get_default_device()))

    def logits(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        x = pooled(x, mask) if self.granularity == "sequence" else x
        return x @ self.projection.to(x.dtype)

    def macs(self, length: int, positions: int) -> float:
        return self.projection.numel() * (length if self.granularity == "token" else 1)


class Static(Router):
    """`StaticRouter` as a module: gate 1 for k heads, 0 for the rest."""

    chosen: Tensor

    def __init__(self, config: StaticRouter, gate: GateFunction, heads: int, layer: int) -> None:
        super().__init__(gate, heads, OFF)
        config.validate(heads)
        generator = torch.Generator().manual_seed(config.seed * 1009 + layer)
        chosen = torch.zeros(heads, dtype=torch.bool)
        chosen[torch.randperm(heads, generator=generator, device="cpu")[: config.k].to(chosen.device)] = True
        self.register_buffer("chosen", chosen)

    @property
    def switches_off(self) -> bool:
        return True

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Gates, dict[str, Tensor]]:
        active = self.chosen.expand(x.shape[0], 1, -1)
        return Gates.fixed(active.to(x.dtype)), {}

    def macs(self, length: int, positions: int) -> float:
        return 0


class Oracle(Router):
    """`OracleRouter` as a module: the backbone forces the gates of a route; without one every gate is 1."""

    @property
    def switches_off(self) -> bool:
        return True

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Gates, dict[str, Tensor]]:
        return Gates.fixed(x.new_ones(x.shape[0], 1, self.heads)), {}

    def macs(self, length: int, positions: int) -> float:
        return 0
