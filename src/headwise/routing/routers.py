"""Routers: a layer's normed input, and the controller's context if there is one, to gates. One router per layer.

Legend: B batch, L length, S 1 or L, H heads, R routed heads, D width, C context width; N numbers per token that the
gate function takes (the head logits first, then whatever it predicts).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from headwise.registry import name_of
from headwise.routing import ROUTERS
from headwise.routing.balance import BalanceConfig, balance_losses, budget_loss
from headwise.routing.gates import GateFunction, Gates
from headwise.routing.pooling import masked_mean, pooled

Granularity = Literal["token", "sequence", "layer"]
OFF = BalanceConfig()  # no losses, nothing steered


class RouterConfig(ABC):
    """What a router's configuration declares and builds; its subclasses are frozen dataclasses.

    Attributes:
        granularity: what shares its gates: nothing (token), a sequence, the layer; None without head logits.
        scores: whether head logits go through the gate function.
        learned: whether routing losses train it.
        reads_context: whether it reads the controller's context.
        reads: dimensions of the layer's normed input that it reads, the first so many; None: all, or what it will.
        follows_route: whether the backbone gives it the gates of the layout's route.
    """

    granularity: Granularity | None = None
    reads: int | None = None
    scores: ClassVar[bool] = True
    learned: ClassVar[bool] = False
    reads_context: ClassVar[bool] = False
    follows_route: ClassVar[bool] = False

    @abstractmethod
    def build(
        self, gate: GateFunction, width: int, heads: int, context: int = 0, layer: int = 0, balance: BalanceConfig = OFF
    ) -> "Router | None":
        """The router of one layer.

        Args:
            gate: the gate function.
            width: D.
            heads: H.
            context: C, the controller's context width, 0 without one.
            layer: its number, for what differs from layer to layer.
            balance: losses and steering; none by default.

        Returns:
            The module; None where every gate is 1 and nothing is computed for it.

        Raises:
            ValueError: gate function, router or target ask for more heads than there are.
        """

    def validate(self, heads: int) -> None:  # noqa: B027 - a hook
        """Raise a ValueError when the settings do not fit a layer of so many heads; by default all fit."""

    def describe(self) -> str:
        """A few words for reports."""
        return f"{name_of(ROUTERS, type(self)).replace('_', ' ')} router"

    @classmethod
    def examples(cls) -> "Sequence[RouterConfig]":
        """Small configurations, for a layer of two heads, that together use every option: the laws walk over them."""
        return [cls()]


@dataclass(frozen=True)
class NoRouter(RouterConfig):
    """plain attention: every gate is 1 and nothing is computed for it"""

    scores: ClassVar[bool] = False

    def build(
        self, gate: GateFunction, width: int, heads: int, context: int = 0, layer: int = 0, balance: BalanceConfig = OFF
    ) -> None:
        return None

    def describe(self) -> str:
        return "no router: all heads alike"


@dataclass(frozen=True)
class LearnedRouter(RouterConfig):
    """a linear map that starts at zero, so that training starts as plain attention

    Args:
        granularity: token: W·[x_i ; context]. sequence: W·context, or of the mean token where there is no
            controller. layer: a learned constant.
        reads: dimensions of the normed input that it reads, the first so many, at most D; null (default): all. With 12
            and gate sigmoid it is the head gate of modded-nanogpt, which reads the residual stream behind its norm,
            too. Differs from it: 2·sigmoid in place of sigmoid, so that a start at zero is plain attention, and a bias.
    """

    granularity: Granularity = "token"
    reads: int | None = None
    learned: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.reads is not None and self.reads < 1:
            raise ValueError(f"reads={self.reads}: choose at least 1 dimension, or null for all")

    @property
    def reads_context(self) -> bool:  # type: ignore[override]
        return self.granularity != "layer"

    def build(
        self, gate: GateFunction, width: int, heads: int, context: int = 0, layer: int = 0, balance: BalanceConfig = OFF
    ) -> "Learned":
        return Learned(self, gate, width, heads, context, balance)

    def describe(self) -> str:
        what = f" from {self.reads} dimensions" if self.reads else ""
        return f"learned router per {self.granularity}{what}"

    @classmethod
    def examples(cls) -> "Sequence[LearnedRouter]":
        return [cls("token", 3), cls("sequence"), cls("layer")]


class Router(nn.Module, ABC):
    """A layer's gates: of a fixed set of heads (`Static`), or from head logits (`Scored`).

    Args:
        gate: the gate function.
        heads: H.
        balance: losses and steering; none by default.

    Attributes:
        columns: what the N numbers of head logits mean, in their order; the first are the `heads` logits.
        temperature: of the softmax.
        ranking_bias: [R], added to the ranking score only, or None.
        multiplier: of the budget loss, or None.
        off_target: how far the mean of all layers was off the budget in the update before, as a share of H, where the
            budget is over the model, or None.
        reports_entropy: return the loss "entropy" in training; off at the start: it is computed for its weight alone.

    Temperature, bias, multiplier and distance are buffers: schedules and `balance.steer` write them between updates,
    they are saved with the weights and never trained.
    """

    role = "controller"
    temperature: Tensor
    ranking_bias: Tensor | None
    multiplier: Tensor | None
    off_target: Tensor | None

    def __init__(self, gate: GateFunction, heads: int, balance: BalanceConfig) -> None:
        super().__init__()
        gate.validate(heads)
        balance.validate(gate, heads)
        self.gate, self.heads, self.balance, self.columns = gate, heads, balance, gate.columns(heads)
        self.reports_entropy = False
        steered = balance.target is not None
        self.register_buffer("temperature", torch.tensor(1.0))
        self.register_buffer("ranking_bias", torch.zeros(self.columns["heads"]) if balance.bias_rate else None)
        self.register_buffer("multiplier", torch.tensor(0.0) if steered else None)
        self.register_buffer("off_target", torch.tensor(0.0) if balance.over == "model" else None)

    @property
    def switches_off(self) -> bool:
        """Whether a gate can be 0, so that heads can be left out."""
        return self.gate.selects or self.gate.varies

    def predictor_norms(self) -> dict[str, float]:
        """Norm of the weights behind each of `columns`; {} where they are not learned."""
        return {}

    @abstractmethod
    def macs(self, length: int, positions: int) -> float:
        """Multiply-accumulates for an example of `length` tokens, with a context of so many positions."""

    @abstractmethod
    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Gates, dict[str, Tensor]]:
        """Gates of the layer and its routing losses.

        Args:
            x: [B, L, D], the layer's normed input.
            context: [B, S, C] of the controller, or None.
            mask: [B, L], True for real tokens, or None.

        Returns:
            Gates [B, L|1, H], and in training named losses with gradient: "entropy", the mean entropy of the gates'
            distribution as a share of ln R, where asked for and defined, and those of `balance`.
        """


class Scored(Router):
    """Head logits to gates at a temperature; subclasses say where the logits come from."""

    @abstractmethod
    def logits(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        """What the gate function takes, [B, L|1, N]."""

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Gates, dict[str, Tensor]]:
        logits = self.logits(x, context, mask)
        gates = self.gate(logits, self.temperature, None, self.training, self.ranking_bias)
        losses: dict[str, Tensor] = {}
        if not (self.training and torch.is_grad_enabled() and gates.probs.requires_grad):
            return gates, losses
        if self.reports_entropy and self.gate.softmax:
            losses["entropy"] = masked_mean(normalised_entropy(gates.probs), mask)
        if self.balance.losses:
            losses |= balance_losses(self.balance, gates, logits[..., : self.columns["heads"]], mask)
        if self.multiplier is not None:
            losses["budget"] = budget_loss(self.balance, self.multiplier, gates, mask, self.off_target)
        return gates, losses


class Learned(Scored):
    """`LearnedRouter` as a module.

    Args:
        config: the granularity.
        gate: the gate function.
        width: D.
        heads: H.
        context: C, the controller's context width, 0 without one.
        balance: losses and steering.
    """

    def __init__(
        self,
        config: LearnedRouter,
        gate: GateFunction,
        width: int,
        heads: int,
        context: int = 0,
        balance: BalanceConfig = OFF,
    ) -> None:
        super().__init__(gate, heads, balance)
        self.granularity, outputs = config.granularity, sum(self.columns.values())
        self.reads = min(config.reads or width, width)  # a search for a size passes narrow ones, too
        reads_input = self.granularity == "token" or not context
        if self.granularity == "layer":
            self.constant = nn.Parameter(torch.zeros(outputs))
            return
        self.of_input = _zero_linear(self.reads, outputs, bias=not context) if reads_input else None
        self.of_context = _zero_linear(context, outputs, bias=True) if context else None

    def logits(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        if self.granularity == "layer":
            return self.constant.expand(x.shape[0], 1, -1)
        if self.granularity == "sequence":
            x = x if self.of_context is not None else pooled(x, mask)
            context = None if context is None else pooled(context, mask)
        parts: list[Tensor] = []
        if self.of_input is not None:
            parts.append(self.of_input(x[..., : self.reads]))
        if self.of_context is not None:
            if context is None:
                raise ValueError("this router was built for a controller's context and got none")
            parts.append(self.of_context(context))
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def macs(self, length: int, positions: int) -> float:
        if self.granularity == "layer":
            return 0
        if self.granularity == "sequence":
            length = positions = 1
        of_input = 0 if self.of_input is None else self.of_input.weight.numel() * length
        return of_input + (0 if self.of_context is None else self.of_context.weight.numel() * positions)

    @torch.no_grad()
    def predictor_norms(self) -> dict[str, float]:
        # Every parameter has the N outputs as its first dimension.
        rows = torch.cat(
            [parameter.flatten(1) if parameter.dim() > 1 else parameter[:, None] for parameter in self.parameters()], 1
        )
        parts = torch.split(rows, list(self.columns.values()))
        return {name: part.norm().item() for name, part in zip(self.columns, parts, strict=True)}


def normalised_entropy(probs: Tensor) -> Tensor:
    """Entropy over the last dimension as a share of its maximum, ln H: [..., H] to [...], at least single precision.

    Where p is 0 its term is 0, and so is its gradient by the head logits, as in the limit.
    """
    probs = probs.to(torch.promote_types(probs.dtype, torch.float32))
    logs = probs.clamp_min(torch.finfo(probs.dtype).tiny).log()
    return -(probs * logs).sum(-1) / math.log(max(probs.shape[-1], 2))


def _zero_linear(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
