"""The refiner: runs the stack step by step, under a controller and a halting policy.

Legend: B batch, L length, D width, H heads, R most steps, K supervised steps.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from headwise.reasoning.controllers import Controller
from headwise.reasoning.draws import normal, places_of
from headwise.reasoning.halting import Halting, Judge, ponder_distribution
from headwise.reasoning.initial_states import InitialState
from headwise.reasoning.recursion import residual
from headwise.reasoning.refinement import PathNoise, RefinementConfig
from headwise.reasoning.state import ControllerState
from headwise.reasoning.trace import Carry, StackOutput, Trace
from headwise.routing.attention import LayerMemory
from headwise.routing.balance import head_loads
from headwise.routing.gates import Gates
from headwise.routing.layout import Mask
from headwise.routing.pooling import batch_mean


@dataclass(frozen=True)
class _Live:
    """What a refinement in progress holds of the examples that still run."""

    hidden: Tensor  # [B, L, D]; of two streams the answer
    latent: Tensor | None  # [B, L, D], of two streams
    start: Tensor  # [B, L, D], the embedding
    mask: Mask
    state: ControllerState | None = None
    memory: list[LayerMemory] | None = None
    carried: bool | Tensor = False  # whether `hidden` is not the embedding; [B] where examples differ
    ahead: int | Tensor = 0  # steps taken before this pass; int64 [B] where examples differ

    def rows(self, index: Tensor) -> "_Live":
        return _Live(
            self.hidden[index],
            None if self.latent is None else self.latent[index],
            self.start[index],
            self.mask.rows(index),
            None if self.state is None else self.state.rows(index),
            None if self.memory is None else [layer.rows(index) for layer in self.memory],
            self.carried[index] if isinstance(self.carried, Tensor) else self.carried,
            self.ahead[index] if isinstance(self.ahead, Tensor) else self.ahead,
        )


class Refiner(nn.Module):
    """Runs the stack, in training over the R steps of one segment, at evaluation over all until each example halts.

    Args:
        stacks: of blocks, as many as the recursion has: one, or another one for the answer.
        controller: or None.
        halting: or None for all R steps.
        config: the refinement's settings.
        width: D.
        loads: report in training how much each head was used.

    Attributes:
        noise_at_evaluation: noise on the path in evaluation mode; none at the start.
    """

    def __init__(
        self,
        stacks: Sequence[nn.Module],
        controller: Controller | None,
        halting: Halting | Judge | None,
        config: RefinementConfig,
        width: int,
        loads: bool = False,
    ) -> None:
        super().__init__()
        self.stack, self.answer_stack = stacks[0], stacks[1] if len(stacks) > 1 else None
        self.controller, self.halting, self.config = controller, halting, config
        self.initial_state: InitialState = config.initial_state.build(width, config.recursion.streams)
        self.reports_loads, self.noise_at_evaluation = loads, PathNoise()

    @property
    def stacks(self) -> list[nn.Module]:
        """All of them, in the order of `Recursion.stack`."""
        return [self.stack] if self.answer_stack is None else [self.stack, self.answer_stack]

    @property
    def noise(self) -> PathNoise:
        """Noise on the path in the present mode."""
        return PathNoise(self.config.noise) if self.training else self.noise_at_evaluation

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
            x: [B, L, D], the embedding.
            mask: which tokens are real, and where attention may look.
            carry: of an earlier pass over the same examples; None starts afresh.
            gates: forced gates [B, L|1, H] per step, of all segments, and layer of the stack that it applies (one
                step's are used at all steps); None: the routers'.
            record: keep gates and residuals in the trace.
        """
        live = self._begun(x, self._keyed(mask, x), carry)
        if isinstance(live.ahead, Tensor) and gates is not None and len(gates) > 1:
            raise ValueError("gates: of each step, and the examples are at different steps; give those of one step")
        if self.training or self.halting is None:
            return self._all_steps(live, gates, record)
        return self._until_halted(live, gates, record)

    def _begun(self, x: Tensor, mask: Mask, carry: Carry | None) -> _Live:
        """What the first step of this pass finds."""
        if carry is not None and carry.fresh is None:
            return _Live(carry.hidden, carry.latent, x, mask, carry.state, carried=True, ahead=carry.steps)
        embeds = self.config.initial_state.embeds
        answer, *rest = self.initial_state(x, mask.keys, places_of(mask.padding, x))
        latent = rest[0] if rest else None
        if carry is None:
            return _Live(answer, latent, x, mask, carried=not embeds)
        fresh = carry.fresh
        assert fresh is not None
        rows = fresh[:, None, None]
        if latent is not None and carry.latent is not None:
            latent = torch.where(rows, latent.to(carry.latent.dtype), carry.latent)
        return _Live(
            torch.where(rows, answer.to(carry.hidden.dtype), carry.hidden),
            latent,
            x,
            mask,
            None if carry.state is None else carry.state.afresh(fresh),
            carried=~fresh if embeds else True,
            ahead=torch.where(fresh, 0, torch.as_tensor(carry.steps, device=fresh.device)),
        )

    def _step(self, live: _Live, t: int, gates: Sequence[Tensor] | None) -> tuple[_Live, StackOutput, Tensor | None]:
        """Step t of this pass, from 1: the states after it, the stack's output and the controller's context."""
        loop, recursion = self.config, self.config.recursion
        if (t - 1) % loop.steps == 0:  # a segment hands on its state and nothing else
            live = replace(live, memory=None)
        context, state, losses = None, live.state, {}
        if self.controller is not None:
            heads = live.memory[-1].heads if live.memory else None
            context, state, losses = self.controller(live.hidden, live.mask.padding, live.state, heads)
        added = None
        if recursion.injects or (loop.injection == "input" and live.carried is True):
            added = live.start
        elif loop.injection == "input" and isinstance(live.carried, Tensor):
            added = live.start * live.carried[:, None, None]
        hidden = recursion.read(t, live.hidden, live.latent, added)
        if (given := _inputs(live, t)) is not None:
            hidden = hidden + given
        stack = self.stacks[recursion.stack(t)]
        out: StackOutput = stack(hidden, live.mask, context, self._reused(live.memory), gates)
        out.losses.update(losses)
        answer, latent = recursion.written(t, out.hidden, live.hidden, live.latent)
        new = _Live(answer, latent, live.start, live.mask, state, out.memory, carried=True, ahead=live.ahead)
        return new, out, context

    def _all_steps(self, live: _Live, gates: Sequence[Sequence[Tensor]] | None, record: bool) -> Trace:
        """The R steps of a segment; at evaluation those of all segments. The trace numbers them on from the carry's, or
        from 1 where examples differ in those that they took before."""
        before = live.ahead if isinstance(live.ahead, int) else 0
        # Steps are counted from the start of this pass, so that torch.compile has one graph for all further segments.
        loop, last = self.config, self.config.steps if self.training else self.config.steps_in_all
        first = loop.first_with_gradient(self.controller.slow_period if self.controller else None)
        # Literals, and sizes by `shape`: torch.compile knows no other lists, and takes `len` for a constant
        states: list[Tensor] = []
        numbers: list[int] = []
        residuals: list[Tensor] = []
        stopping: list[Tensor] = []
        recorded: list[list[Gates]] = []
        losses: dict[str, list[Tensor]] = {}
        loads: dict[int, list[Tensor]] = {}
        answer = live.hidden  # as it is read out, without the noise that the next step reads
        for t in range(1, last + 1):
            answered = loop.recursion.answers(t)
            with torch.no_grad() if t < first else nullcontext():
                live, out, context = self._step(live, t, _forced(gates, live, t))
                if answered and isinstance(self.halting, Halting) and self.halting.learned:
                    stopping.append(self.halting(context, out.gates, live.mask.padding))
            if record:
                recorded.append(out.gates)
            if record and answered:
                residuals.append(residual(live.hidden, answer, live.mask.padding))
                answer = live.hidden
            if t >= first:
                if answered:
                    states.append(live.hidden)
                    numbers.append(before + t)
                if self.training and self.reports_loads and out.gates:
                    used = torch.stack([head_loads(layer, live.mask.padding) for layer in out.gates])
                    loads.setdefault(loop.recursion.stack(t), []).append(used)
                for name, value in out.losses.items():
                    losses.setdefault(name, []).append(value)
            live = self._noisy(live, t)
        steps = live.hidden.new_full((live.hidden.shape[0],), last)
        # Costs that count something add up over steps; the rest are means.
        named = {k: torch.stack(v).sum() if k == "slow_updates" else torch.stack(v).mean() for k, v in losses.items()}
        if stopping and self.training:
            weights = ponder_distribution(torch.stack(stopping))  # [K, B]
            steps = (weights * torch.tensor(numbers, device=weights.device)[:, None]).sum(0)
            named["ponder"] = batch_mean(steps)
        else:
            weights = self._weights(states[-1], len(states))
            states, numbers = states[-len(weights) :], numbers[-len(weights) :]
        return Trace(
            torch.stack(states),
            weights,
            steps,
            named,
            Carry(live.hidden, live.state, live.ahead + last, live.latent),
            recorded if record else None,
            torch.cat([torch.stack(loads[stack]).mean(0) for stack in sorted(loads)]) if loads else None,
            numbers,
            torch.stack(residuals) if record else None,
            self.halting(states[-1], live.mask.padding) if isinstance(self.halting, Judge) else None,
        )

    def _weights(self, state: Tensor, trained: int) -> Tensor:
        """What the last of so many states weigh in the loss, [K, B]; at evaluation the last one alone is looked at."""
        loop = self.config
        if loop.supervision == "last" or not self.training:
            return state.new_ones(1, state.shape[0])
        lowest = 0.3 if loop.supervision == "ramp" else 1.0
        ramp = torch.linspace(lowest, 1, min(loop.supervised or trained, trained), device=state.device)
        return (ramp / ramp.sum()).to(state.dtype)[:, None].expand(-1, state.shape[0])

    def _until_halted(self, live: _Live, gates: Sequence[Sequence[Tensor]] | None, record: bool) -> Trace:
        """Halted examples leave the batch. With learned halting one stops at the first t whose cumulative p >= 1/2;
        with a judge at the end of the first segment whose answer it takes for right."""
        assert self.halting is not None
        judge = self.halting if isinstance(self.halting, Judge) else None
        last, batch = self.config.steps_in_all, len(live.hidden)
        running = torch.arange(batch, device=live.hidden.device)
        final, steps, judged = torch.empty_like(live.hidden), live.hidden.new_zeros(batch), live.hidden.new_empty(batch)
        going = live.hidden.new_ones(batch)  # probability of coming as far as this step
        halted: list[tuple[Tensor, Carry]] = []
        recorded, residuals = list[list[Gates]](), list[Tensor]()
        answer = live.hidden  # as it is read out, without the noise that the next step reads
        for t in range(1, last + 1):
            answered = self.config.recursion.answers(t)
            forced = _forced(gates, live, t)
            forced = None if forced is None else [layer[running] for layer in forced]
            live, out, context = self._step(live, t, forced)
            if record:
                recorded.append(_scattered(out.gates, running, batch, recorded[-1] if recorded else None))
            if record and answered:
                moved = residual(live.hidden, answer, live.mask.padding)
                residuals.append((residuals[-1] if residuals else moved).index_copy(0, running, moved))
            answer = live.hidden if answered else answer
            if not answered or (judge is not None and t % self.config.steps):  # nothing to decide yet
                live = self._noisy(live, t)
                continue
            if judge is not None:
                logit = judge(live.hidden, live.mask.padding).to(judged.dtype)
                stops, judged = logit > judge.level, judged.index_copy(0, running, logit)
            else:
                going = going * (1 - self.halting(context, out.gates, live.mask.padding))
                stops = going <= 0.5
            stops = stops | (t == last)
            live = self._noisy(live, t)
            if stops.any():
                index = stops.nonzero().flatten()
                final = final.index_copy(0, running[index], answer[index])
                steps = steps.index_fill(0, running[index], t)
                halted.append((running[index], Carry(live.hidden, live.state, live.ahead + t, live.latent).rows(index)))
                index = (~stops).nonzero().flatten()
                if not len(index):
                    break
                running, going, live, answer = running[index], going[index], live.rows(index), answer[index]
        carry = Carry.joined([part for _, part in halted], torch.cat([index for index, _ in halted]).argsort())
        return Trace(
            final[None],
            final.new_ones(1, batch),
            steps,
            {},
            carry,
            recorded if record else None,
            residuals=torch.stack(residuals) if record else None,
            halting=None if judge is None else judged,
        )

    def _keyed(self, mask: Mask, x: Tensor) -> Mask:
        """The mask with a key for each example where something is drawn. Where the layout has none, keys are drawn in
        training, as dropout is, and at evaluation all examples draw alike."""
        if mask.keys is not None or not (self.config.initial_state.draws or self.noise.deviation):
            return mask
        if self.training:
            return replace(mask, keys=torch.randint(2**62, (len(x),), device=x.device))
        return replace(mask, keys=torch.zeros(len(x), dtype=torch.int64, device=x.device))

    def _noisy(self, live: _Live, t: int) -> _Live:
        """The states with the noise that they get after step t."""
        noise, recursion = self.noise, self.config.recursion
        if not noise.deviation or t % noise.every:
            return live
        keys, places = live.mask.keys, places_of(live.mask.padding, live.hidden)
        assert keys is not None

        def with_noise(state: Tensor, stream: int) -> Tensor:
            draw = recursion.streams * (live.ahead + t) + stream  # after those of the initial states
            drawn = normal(keys, draw, places, state.shape[-1])
            return state + (noise.deviation * drawn).to(state.dtype)

        answered = {recursion.answers(step) for step in range(t - noise.every + 1, t + 1)}
        hidden = with_noise(live.hidden, 0) if True in answered else live.hidden
        latent = with_noise(live.latent, 1) if False in answered and live.latent is not None else live.latent
        return replace(live, hidden=hidden, latent=latent)

    def _reused(self, memory: list[LayerMemory] | None) -> list[LayerMemory] | None:
        if memory is None or self.config.reuse == "none":
            return None
        if self.config.reuse == "heads":
            return memory
        return [LayerMemory(layer.keys, layer.values) for layer in memory]


def _inputs(live: _Live, t: int) -> Tensor | None:
    """What the layout adds to the hidden states before step t, [B, 1|L, D], or None."""
    inputs, place = live.mask.inputs, live.ahead + t - 1
    if inputs is None:
        return None
    if isinstance(place, int):
        return inputs[place] if place < len(inputs) else None
    given = inputs[place.clamp_max(len(inputs) - 1), torch.arange(len(place), device=place.device)]
    return given * (place < len(inputs))[:, None, None]


def _forced(gates: Sequence[Sequence[Tensor]] | None, live: _Live, t: int) -> Sequence[Tensor] | None:
    if gates is None or len(gates) == 1:
        return None if gates is None else gates[0]
    assert isinstance(live.ahead, int)  # refused at the start otherwise
    return gates[live.ahead + t - 1]


def _scattered(gates: list[Gates], running: Tensor, batch: int, before: list[Gates] | None) -> list[Gates]:
    """The gates of the running examples in a full batch; halted ones keep what they had before."""
    if before is None:
        return gates
    return [new.placed(running, old) for old, new in zip(before, gates, strict=True)]
