"""Controllers: networks that recur over refinement steps (depth, not sequence) and give the routers their context.

Legend: B batch, L length, S context positions (1, or L where each position has its own state), H heads, D width of the
hidden state, C controller width. One controller serves all layers; it runs once a step, on the previous hidden state.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headwise.reasoning import CONTROLLERS
from headwise.reasoning.state import ControllerState
from headwise.registry import name_of
from headwise.routing.gates import straight_through
from headwise.routing.pooling import first_token, masked_mean, pooled


class ControllerConfig(ABC):
    """What a controller's configuration declares and builds; its subclasses are frozen dataclasses.

    Attributes:
        steers: whether there is a controller at all.
        slow_period: steps between slow updates where they are on a fixed schedule, else None.
        learns_schedule: whether it decides itself when its slow module runs.
        least_steps: refinement steps it takes to reach all its weights (with a `slow_period`, one more than that).
        carries_state: whether its state goes on from segment to segment, so that steps of all segments count.
        reads_heads: whether it reads the head outputs of the step before.
        reads_first_token: whether it reads the first token alone.
    """

    steers: ClassVar[bool] = True
    learns_schedule: ClassVar[bool] = False
    least_steps: ClassVar[int] = 1
    carries_state: ClassVar[bool] = True
    reads_heads: ClassVar[bool] = False

    @property
    def slow_period(self) -> int | None:
        return None

    @property
    def reads_first_token(self) -> bool:
        return False

    @abstractmethod
    def build(self, width: int, heads: int, causal: bool = False) -> "Controller | None":
        """The controller for hidden width D and H heads; None where there is none.

        Args:
            width: D.
            heads: H.
            causal: every position has a state of its own and sees no later one.
        """

    def describe(self) -> str:
        """A few words for reports."""
        return f"{name_of(CONTROLLERS, type(self))} controller"

    @classmethod
    def examples(cls) -> "Sequence[ControllerConfig]":
        """Small configurations, for four steps and more, that together use every option: the laws walk over them."""
        return [cls()]


@dataclass(frozen=True)
class NoController(ControllerConfig):
    """no context: routers see their layer's input alone"""

    steers: ClassVar[bool] = False

    def build(self, width: int, heads: int, causal: bool = False) -> None:
        return None


@dataclass(frozen=True)
class ClassicalConfig(ControllerConfig):
    """stateless: an MLP on each token, from the second step on another that sees the previous head outputs

    Args:
        width: hidden units of each MLP; default max(32, D/2), the original's.
    """

    width: int | None = None
    least_steps: ClassVar[int] = 3
    carries_state: ClassVar[bool] = False
    reads_heads: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _at_least_one("width", self.width)

    def build(self, width: int, heads: int, causal: bool = False) -> "Classical":
        return Classical(self, width, heads)


@dataclass(frozen=True)
class HRMConfig(ControllerConfig):
    """two recurrent modules: a fast one every step, a slow one every `period` steps

    Args:
        period: steps between updates of the slow module; default 4, the original's.
        width: C; default D/2, the original's.
        pool: what the controller reads of the tokens: their mean (default) or the first token.
        additive: context z_L + W·z_H (the original's form) instead of [z_L ; z_H].
        dropout: on the pooled input; default 0.
    """

    period: int = 4
    width: int | None = None
    pool: Literal["mean", "first"] = "mean"
    additive: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _at_least_one("period", self.period)
        _wide_enough(self.width)
        _probability("dropout", self.dropout)

    @property
    def slow_period(self) -> int:
        return self.period

    @property
    def reads_first_token(self) -> bool:
        return self.pool == "first"

    def build(self, width: int, heads: int, causal: bool = False) -> "HRM":
        return HRM(self, width, causal)

    def describe(self) -> str:
        return f"{super().describe()}, slow module every {self.period} steps"

    @classmethod
    def examples(cls) -> "Sequence[HRMConfig]":
        return [cls(period=2), cls(period=2, additive=True, pool="first")]


@dataclass(frozen=True)
class HRMActConfig(ControllerConfig):
    """as hrm, but how often the slow module fires is learned (adaptive computation time)

    Args:
        width: C; default D/2, the original's.
        pool, additive, dropout: as in `HRMConfig`.
        max_updates: of the slow module for one example; default 20, the original's `max_ponders`.
        eps: the slow module fires when the accumulated probability reaches 1 - eps; default 0.01, the original's.
    """

    width: int | None = None
    pool: Literal["mean", "first"] = "mean"
    additive: bool = False
    dropout: float = 0.0
    max_updates: int = 20
    eps: float = 0.01
    learns_schedule: ClassVar[bool] = True
    least_steps: ClassVar[int] = 3

    def __post_init__(self) -> None:
        _wide_enough(self.width)
        _at_least_one("max_updates", self.max_updates)
        _probability("dropout", self.dropout)
        if not 0 < self.eps < 1:
            raise ValueError(f"eps={self.eps}: choose a number between 0 and 1")

    @property
    def reads_first_token(self) -> bool:
        return self.pool == "first"

    def build(self, width: int, heads: int, causal: bool = False) -> "HRMAct":
        return HRMAct(self, width, causal)


@dataclass(frozen=True)
class TwoLevelState(ControllerState):
    """State of `HRM`.

    Attributes:
        slow, fast: z_H and z_L, [B, S, C].
        step: steps taken so far.
        updates: [B, S, 1], updates of the slow module so far.
        accumulated: [B, S, 1], firing probability since the last update (`hrm_act` alone; starts at 1).
    """

    slow: Tensor
    fast: Tensor
    step: int
    updates: Tensor
    accumulated: Tensor

    @property
    def slow_updates(self) -> Tensor:
        return self.updates

    def afresh(self, rows: Tensor) -> "TwoLevelState":
        return replace(super().afresh(rows), accumulated=self.accumulated.masked_fill(rows[:, None, None], 1))


class Controller(nn.Module, ABC):
    """What a refiner needs of a controller.

    Attributes:
        context_width: width of the context.
        per_position: whether S = L.
        slow_period: steps between slow updates where they are on a fixed schedule, else None.
        reads_prefix: in a causal model it reads at each position the mean of the prefix; else that position alone.
    """

    role: ClassVar[str] = "controller"
    reads_prefix: ClassVar[bool] = False
    context_width: int
    per_position: bool
    slow_period: int | None = None

    @abstractmethod
    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        state: ControllerState | None,
        heads: Tensor | None = None,
    ) -> tuple[Tensor, ControllerState | None, dict[str, Tensor]]:
        """One step.

        Args:
            hidden: [B, L, D], the hidden state after the previous step (the embedding at the first).
            mask: [B, L], True for real tokens, or None.
            state: of the previous step; None at the first.
            heads: [B, L, H, E], head outputs of the last layer at the previous step; None at the first.

        Returns:
            context [B, S, context_width], the new state (None for a stateless controller), routing losses.
        """

    @abstractmethod
    def macs(self, steps: float, segments: int) -> float:
        """Multiply-accumulates of so many steps, the first of so many segments among them, for one context position."""


class Classical(Controller):
    """`ClassicalConfig`: context_i = [GELU(W_1 LN(h_i)) ; GELU(W_2 [LN(h_i) ; m_i])].

    m_i is the mean over E of each head's previous output; the second part is 0 at the first step. The routers are the
    MLPs' output layers, so head logits are the sum of both.
    """

    def __init__(self, config: ClassicalConfig, width: int, heads: int) -> None:
        super().__init__()
        hidden = config.width or max(32, width // 2)
        self.context_width, self.per_position = 2 * hidden, True
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, hidden)
        self.feedback = nn.Linear(width + heads, hidden)

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        state: ControllerState | None,
        heads: Tensor | None = None,
    ) -> tuple[Tensor, ControllerState | None, dict[str, Tensor]]:
        x = self.norm(hidden)
        first = nn.functional.gelu(self.first(x))
        if heads is None:
            second = torch.zeros_like(first)
        else:
            second = nn.functional.gelu(self.feedback(torch.cat([x, heads.mean(-1)], -1)))
        return torch.cat([first, second], -1), None, {}

    def macs(self, steps: float, segments: int) -> float:
        return steps * self.first.weight.numel() + (steps - segments) * self.feedback.weight.numel()


class HRM(Controller):
    """`HRMConfig`:

        u   = W_in dropout(pool(h_{t-1}))
        if (t - 1) mod period == 0:  z_H <- LN(GRU_H(u, z_H))
        z_L <- LN(GRU_L([u ; z_H], z_L))
        context = [z_L ; z_H]      (additive: z_L + W z_H)

    z_L = z_H = 0 at the start. Both modules train: the original ran GRU_H under no_grad. In a causal model pool is the
    mean of the prefix and every position has its own state.
    """

    reads_prefix: ClassVar[bool] = True

    def __init__(self, config: HRMConfig | HRMActConfig, width: int, causal: bool = False) -> None:
        super().__init__()
        size = config.width or max(3, width // 2)
        self.size, self.pool, self.per_position = size, config.pool, causal
        self.slow_period, self.dropout = config.slow_period, config.dropout
        self.of_input = nn.Linear(width, size)
        self.slow_cell, self.fast_cell = nn.GRUCell(size, size), nn.GRUCell(2 * size, size)
        self.slow_norm, self.fast_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.of_slow = nn.Linear(size, size, bias=False) if config.additive else None
        self.context_width = size if config.additive else 2 * size

    def forward(
        self,
        hidden: Tensor,
        mask: Tensor | None,
        state: ControllerState | None,
        heads: Tensor | None = None,
    ) -> tuple[Tensor, ControllerState | None, dict[str, Tensor]]:
        u = self.of_input(F.dropout(self._pool(hidden, mask), self.dropout, self.training))  # [B, S, C]
        if state is None:
            zero, count = torch.zeros_like(u), u.new_zeros(*u.shape[:2], 1)
            state = TwoLevelState(zero, zero, 0, count, torch.ones_like(count))
        assert isinstance(state, TwoLevelState)
        state, losses = self._slow(u, state, mask)
        fast = _normed_gru(self.fast_cell, self.fast_norm, torch.cat([u, state.slow], -1), state.fast)
        state = TwoLevelState(state.slow, fast, state.step + 1, state.updates, state.accumulated)
        if self.of_slow is not None:
            return fast + self.of_slow(state.slow), state, losses
        return torch.cat([fast, state.slow], -1), state, losses

    def _slow(self, u: Tensor, state: TwoLevelState, mask: Tensor | None) -> tuple[TwoLevelState, dict[str, Tensor]]:
        assert self.slow_period is not None
        if state.step % self.slow_period:
            return state, {}
        slow = _normed_gru(self.slow_cell, self.slow_norm, u, state.slow)
        return TwoLevelState(slow, state.fast, state.step, state.updates + 1, state.accumulated), {}

    def _pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        if self.pool == "first":
            first = first_token(hidden, mask)
            return first.expand_as(hidden) if self.per_position else first
        if not self.per_position:
            return pooled(hidden, mask)
        weight = torch.ones_like(hidden[..., :1]) if mask is None else mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).cumsum(1) / weight.cumsum(1).clamp_min(1)  # mean of the prefix

    def macs(self, steps: float, segments: int) -> float:
        slow = self.slow_cell.weight_ih.numel() + self.slow_cell.weight_hh.numel()
        fast = self.fast_cell.weight_ih.numel() + self.fast_cell.weight_hh.numel()
        mixed = 0 if self.of_slow is None else self.of_slow.weight.numel()
        updates = steps if self.slow_period is None else math.ceil(steps / self.slow_period)
        return steps * (self.of_input.weight.numel() + fast + mixed) + updates * slow


class HRMAct(HRM):
    """`HRMActConfig`: as `HRM`, with the slow update decided by an accumulated probability:

        p = sigmoid(w·z_H + b);  a <- a + p;  fire = a >= 1 - eps and fewer than max_updates updates so far
        z_H <- s·LN(GRU_H(u, z_H)) + (1 - s)·z_H,  s = fire forward, p backward (straight-through);  a <- 0 where fired

    a starts at 1, so that the first step fires, as it does in `HRM`. Backward sees the p-weighted mixture, so GRU_H
    learns at steps at which it did not fire, too.

    The cost "slow_updates" is the mean over examples (in a causal model over their real tokens, too) of the sum of p
    over steps, the expected number of updates (a is set back by each), with gradient. Differs from the paper: there the
    decision and the cost were detached, so the halting head never learned, and max_ponders was not enforced.
    """

    def __init__(self, config: HRMActConfig, width: int, causal: bool = False) -> None:
        super().__init__(config, width, causal)
        self.max_updates, self.eps = config.max_updates, config.eps
        self.fire = nn.Linear(self.size, 1)
        nn.init.zeros_(self.fire.bias)  # p = 1/2: starts by firing every other step

    def _slow(self, u: Tensor, state: TwoLevelState, mask: Tensor | None) -> tuple[TwoLevelState, dict[str, Tensor]]:
        allowed = (state.updates < self.max_updates).to(u.dtype)
        p = self.fire(state.slow).sigmoid() * allowed  # [B, S, 1]
        accumulated = state.accumulated + p
        fired = (accumulated.detach() >= 1 - self.eps).to(u.dtype) * allowed
        change = _normed_gru(self.slow_cell, self.slow_norm, u, state.slow) - state.slow
        slow = straight_through(state.slow + fired * change, state.slow + p * change)
        state = TwoLevelState(slow, state.fast, state.step, state.updates + fired, accumulated.detach() * (1 - fired))
        return state, {"slow_updates": masked_mean(p[..., 0], mask)}

    def macs(self, steps: float, segments: int) -> float:
        return super().macs(steps, segments) + steps * self.fire.weight.numel()


def _normed_gru(cell: nn.GRUCell, norm: nn.LayerNorm, x: Tensor, state: Tensor) -> Tensor:
    """LN(GRU(x, state)) on [B, S, ...]: every position is a row of its own."""
    # The modules only hold the weights: for so few numbers calling them takes as long as computing.
    weights = cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh
    new = torch.gru_cell(x.flatten(0, 1), state.flatten(0, 1), *weights)
    return F.layer_norm(new, norm.normalized_shape, norm.weight, norm.bias, norm.eps).view_as(state)


def _at_least_one(key: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"{key}={value}: choose at least 1")


def _wide_enough(width: int | None) -> None:
    if width is not None and width < 3:
        raise ValueError(f"width={width}: choose at least 3; a layer norm of 2 numbers has no gradient")


def _probability(key: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{key}={value}: choose a number from 0 up to, not including, 1")
