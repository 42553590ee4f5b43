"""Refinement: one weight-tied stack of blocks applied up to R times under a controller and a halting policy.

Legend: B batch, L length, D width, H heads, R most steps, K supervised steps, S and C context positions and width.

    h_0 = embed(x);   h_t = stack(h_{t-1} + e_t);   e_1 = 0, and for t > 1 e_t = h_0 (injection "input") or 0 ("none");
    to e_t comes what the layout has for step t, where it has something

With S segments an example is trained on S times R steps, each segment from the detached state of the one before.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from headwise.reasoning.controllers import Controller
from headwise.reasoning.halting import Halting, ponder_distribution
from headwise.reasoning.state import ControllerState
from headwise.routing.attention import LayerMemory
from headwise.routing.balance import head_loads
from headwise.routing.gates import Gates
from headwise.routing.layout import Mask
from headwise.routing.pooling import batch_mean


@dataclass(frozen=True)
class RefinementConfig:
    """How the stack is iterated.

    Args:
        steps: R, the most steps an example takes; default 1, a plain transformer.
        gradient: full (default); truncated: the last `window` steps; last: the window opens at the last update of the
            slow module, so that it trains while memory stays independent of R.
        window: steps with gradient under `truncated`.
        injection: add the embedding again before each further step (input) or not (none, default).
        supervision: last (default): the loss sees the final state; uniform: the mean over the steps with gradient;
            ramp: weights rising from 0.3 to 1, normalised.
        reuse: over steps: none (default); keys_values: those of the first step, with fresh queries; heads: the head
            outputs of the first step, so that only the gates change. Each segment computes its own.
        segments: S, supervised segments of each example (default 1), every one an update of its own on the same batch,
            from the detached state in which the one before ended, as HRM and TRM train. At evaluation all R·S steps.
        supervised: under `uniform` and `ramp` only the last so many steps are supervised, so that the first need not
            come to a result; default null, all with gradient.
    """

    steps: int = 1
    gradient: Literal["full", "truncated", "last"] = "full"
    window: int = 1
    injection: Literal["none", "input"] = "none"
    supervision: Literal["last", "uniform", "ramp"] = "last"
    reuse: Literal["none", "keys_values", "heads"] = "none"
    segments: int = 1
    supervised: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: choose at least 1")
        if self.segments < 1:
            raise ValueError(f"segments={self.segments}: choose at least 1")
        if not 1 <= self.window <= self.steps:
            raise ValueError(f"window={self.window}: choose 1..{self.steps} (steps)")
        if self.supervised is not None and not 1 <= self.supervised <= self.steps:
            raise ValueError(f"supervised={self.supervised}: choose 1..{self.steps} (steps), or null")

    @property
    def steps_in_all(self) -> int:
        """R·S, the steps of an example in all its segments; an evaluation takes them at once."""
        return self.steps * self.segments

    def first_with_gradient(self, slow_period: int | None) -> int:
        """The first step (from 1) that is trained; `slow_period` is the controller's, None without a schedule."""
        if self.gradient == "full":
            return 1
        if self.gradient == "truncated":
            return self.steps - self.window + 1
        return self.steps - (self.steps - 1) % (slow_period or 1)


@dataclass(frozen=True)
class Carry:
    """Everything that one forward pass may hand to the next: the hidden state [B, L, D] and the controller's state, and
    how many steps have led there."""

    hidden: Tensor
    state: ControllerState | None
    steps: int = 0

    def rows(self, index: Tensor) -> "Carry":
        """The carry of the examples in `index`."""
        return Carry(self.hidden[index], None if self.state is None else self.state.rows(index), self.steps)

    def detach(self) -> "Carry":
        return Carry(self.hidden.detach(), None if self.state is None else self.state.detach(), self.steps)


@dataclass(frozen=True)
class Trace:
    """The result of a refinement. Rows are in the order of the input.

    Attributes:
        states: [K, B, L, D], hidden states of the supervised steps; at evaluation K = 1, where each example halted.
        weights: [K, B], each column sums to 1; from the last step, the supervision schedule or the ponder distribution.
        steps: [B], refinement steps taken (in training with learned halting: the expected number).
        losses: named routing losses, unweighted, with gradient.
        carry: of the last step.
        gates: per step a list of the layers' gates, when asked for; a halted example keeps its last gates.
        loads: [layers, H], share of tokens that used each head, mean over the steps with gradient, detached; in
            training, where a bias or a budget is steered by it.
        numbers: [K], the step, from 1 and over all segments, after which each of the states stood; None: not known.
    """

    states: Tensor
    weights: Tensor
    steps: Tensor
    losses: dict[str, Tensor]
    carry: Carry
    gates: list[list[Gates]] | None = None
    loads: Tensor | None = None
    numbers: Sequence[int] | None = None


@dataclass(frozen=True)
class StackOutput:
    """One application of the stack: hidden [B, L, D], gates and memory of each layer, routing losses."""

    hidden: Tensor
    gates: list[Gates]
    memory: list[LayerMemory]
    losses: dict[str, Tensor]


class Stack(Protocol):
    """The blocks that are iterated."""

    def __call__(
        self,
        hidden: Tensor,
        mask: Mask,
        context: Tensor | None,
        memory: list[LayerMemory] | None,
        gates: Sequence[Tensor] | None,
    ) -> StackOutput: ...


@dataclass(frozen=True)
class _Live:
    """What a refinement in progress holds of the examples that still run."""

    hidden: Tensor  # [B, L, D]
    start: Tensor  # [B, L, D], the embedding h_0
    mask: Mask
    state: ControllerState | None = None
    memory: list[LayerMemory] | None = None
    carried: bool = False  # whether `hidden` is no longer the embedding

    def rows(self, index: Tensor) -> "_Live":
        return _Live(
            self.hidden[index],
            self.start[index],
            self.mask.rows(index),
            None if self.state is None else self.state.rows(index),
            None if self.memory is None else [layer.rows(index) for layer in self.memory],
            self.carried,
        )


class Refiner(nn.Module):
    """Runs the stack, in training over the R steps of one segment, at evaluation over all until each example halts.

    Args:
        stack: the blocks.
        controller: or None.
        halting: or None for all R steps.
        config: the refinement's settings.
        loads: report in training how much each head was used.
    """

    def __init__(
        self,
        stack: nn.Module,
        controller: Controller | None,
        halting: Halting | None,
        config: RefinementConfig,
        loads: bool = False,
    ) -> None:
        super().__init__()
        self.stack, self.controller, self.halting, self.config = stack, controller, halting, config
        self.reports_loads = loads

    def forward(
        self,
        x: Tensor,
        mask: Mask,
        carry: Carry | None = None,
        gates: Sequence[Sequence[Tensor]] | None = None,
        record: bool = False,
    ) -> Trace:
        """Refine `x`.

        Args:
            x: [B, L, D], the embedding h_0.
            mask: which tokens are real, and where attention may look.
            carry: of an earlier pass over the same examples; None starts afresh.
            gates: forced gates [B, L|1, H] per step, of all segments, and layer (one step's are used at all steps);
                None: the routers'.
            record: keep the gates in the trace.
        """
        live = _Live(x, x, mask) if carry is None else _Live(carry.hidden, x, mask, carry.state, carried=True)
        if self.training or self.halting is None:
            return self._all_steps(live, gates, record, 0 if carry is None else carry.steps)
        return self._until_halted(live, gates, record)

    def _step(self, live: _Live, t: int, gates: Sequence[Tensor] | None) -> tuple[_Live, StackOutput, Tensor | None]:
        """Step t (from 1, over all segments): h_t, the stack's output and the controller's context."""
        if (t - 1) % self.config.steps == 0:  # a segment hands on its state and nothing else
            live = replace(live, memory=None)
        inject = self.config.injection == "input" and live.carried
        context, state, losses = None, live.state, {}
        if self.controller is not None:
            heads = live.memory[-1].heads if live.memory else None
            context, state, losses = self.controller(live.hidden, live.mask.padding, live.state, heads)
        hidden, inputs = live.hidden + live.start if inject else live.hidden, live.mask.inputs
        if inputs is not None and t <= len(inputs):
            hidden = hidden + inputs[t - 1]
        out: StackOutput = self.stack(hidden, live.mask, context, self._reused(live.memory), gates)
        out.losses.update(losses)
        return _Live(out.hidden, live.start, live.mask, state, out.memory, carried=True), out, context

    def _reused(self, memory: list[LayerMemory] | None) -> list[LayerMemory] | None:
        if memory is None or self.config.reuse == "none":
            return None
        if self.config.reuse == "heads":
            return memory
        return [LayerMemory(layer.keys, layer.values) for layer in memory]

    def _all_steps(self, live: _Live, gates: Sequence[Sequence[Tensor]] | None, record: bool, before: int) -> Trace:
        config, supervised = self.config, []
        steps_taken = config.steps if self.training else config.steps_in_all
        first = config.first_with_gradient(self.controller.slow_period if self.controller else None)
        stopping, recorded, loads = [], [], []
        losses: dict[str, list[Tensor]] = {}
        for t in range(1, steps_taken + 1):
            with torch.no_grad() if t < first else nullcontext():
                live, out, context = self._step(live, before + t, _forced(gates, before + t))
                if self.halting is not None and self.halting.learned:
                    stopping.append(self.halting(context, out.gates, live.mask.padding))
            if record:
                recorded.append(out.gates)
            if t >= first:
                supervised.append(live.hidden)
                if self.training and self.reports_loads and out.gates:
                    loads.append(torch.stack([head_loads(layer, live.mask.padding) for layer in out.gates]))
                for name, value in out.losses.items():
                    losses.setdefault(name, []).append(value)
        trained = len(supervised)
        batch = live.hidden.shape[0]
        steps = live.hidden.new_full((batch,), steps_taken)
        # Costs that count something add up over steps; the rest are means.
        named = {k: torch.stack(v).sum() if k == "slow_updates" else torch.stack(v).mean() for k, v in losses.items()}
        if stopping and self.training:
            weights = ponder_distribution(torch.stack(stopping))  # [R, B]
            steps = (weights * torch.arange(1, trained + 1, device=weights.device)[:, None]).sum(0)
            named["ponder"] = batch_mean(steps)
        elif config.supervision == "last" or not self.training:
            supervised, weights = supervised[-1:], live.hidden.new_ones(1, batch)
        else:
            supervised = supervised[-(config.supervised or trained) :]
            trained = len(supervised)
            lowest = 0.3 if config.supervision == "ramp" else 1.0
            ramp = torch.linspace(lowest, 1, trained, device=live.hidden.device)
            weights = (ramp / ramp.sum()).to(live.hidden.dtype)[:, None].expand(-1, batch)
        ended = before + steps_taken
        carry, numbers = Carry(live.hidden, live.state, ended), range(ended - len(supervised) + 1, ended + 1)
        used, states = torch.stack(loads).mean(0) if loads else None, torch.stack(supervised)
        return Trace(states, weights, steps, named, carry, recorded if record else None, used, numbers)

    def _until_halted(self, live: _Live, gates: Sequence[Sequence[Tensor]] | None, record: bool) -> Trace:
        """Halted examples leave the batch. With learned halting one stops at the first t whose cumulative p >= 1/2."""
        assert self.halting is not None
        last, batch = self.config.steps_in_all, live.hidden.shape[0]
        running = torch.arange(batch, device=live.hidden.device)
        final, steps = torch.empty_like(live.hidden), live.hidden.new_zeros(batch)
        going = live.hidden.new_ones(batch)  # probability of coming as far as this step
        halted: list[tuple[Tensor, ControllerState | None]] = []
        recorded: list[list[Gates]] = []
        for t in range(1, last + 1):
            forced = _forced(gates, t)
            forced = None if forced is None else [layer[running] for layer in forced]
            live, out, context = self._step(live, t, forced)
            going = going * (1 - self.halting(context, out.gates, live.mask.padding))
            if record:
                recorded.append(_scattered(out.gates, running, batch, recorded[-1] if recorded else None))
            stops = (going <= 0.5) if t < last else torch.ones_like(going, dtype=torch.bool)
            if stops.any():
                index = stops.nonzero().flatten()
                final = final.index_copy(0, running[index], live.hidden[index])
                steps = steps.index_fill(0, running[index], t)
                halted.append((running[index], None if live.state is None else live.state.rows(index)))
                index = (~stops).nonzero().flatten()
                if not len(index):
                    break
                running, going, live = running[index], going[index], live.rows(index)
        carry = Carry(final, _in_order(halted))
        return Trace(final[None], final.new_ones(1, batch), steps, {}, carry, recorded if record else None)


def _forced(gates: Sequence[Sequence[Tensor]] | None, t: int) -> Sequence[Tensor] | None:
    if gates is None:
        return None
    return gates[0] if len(gates) == 1 else gates[t - 1]


def _scattered(gates: list[Gates], running: Tensor, batch: int, before: list[Gates] | None) -> list[Gates]:
    """The gates of the running examples in a full batch; halted ones keep what they had before."""
    if before is None:
        return gates
    return [new.placed(running, old) for old, new in zip(before, gates, strict=True)]


def _in_order(halted: list[tuple[Tensor, ControllerState | None]]) -> ControllerState | None:
    """Controller states of examples that halted at different steps, back in the order of the batch."""
    states = [state for _, state in halted if state is not None]
    if not states:
        return None
    order = torch.cat([index for index, _ in halted]).argsort()
    return ControllerState.joined(states, order)
