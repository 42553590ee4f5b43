"""Scoring a model on a source of examples: the one evaluation, used for validation, test and comparison.

Legend: B batch, L length, H heads, N examples of the source.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from headwise.reasoning.draws import keys_of
from headwise.reasoning.trace import Trace
from headwise.routing.attention import RoutedAttention
from headwise.routing.diagnostics import gate_statistics, load, mean_gates, router_state
from headwise.routing.gates import Gates
from headwise.routing.pooling import pooled
from headwise.routing.routers import Router
from headwise.tasks.base import KEYS, Batch, Source, TaskModel
from headwise.training.processes import Processes, unsharded

COLLAPSED = 1.2  # mean refinement steps below which learned halting has given up on refinement

Look = Callable[[Any, Batch, Trace], Mapping[str, Tensor]]
"""(prediction, batch, trace of the pass) -> what else is to be known of each example, B first, by name."""


@dataclass(frozen=True)
class Score:
    """What a model did on a source.

    Attributes:
        metrics: each metric per example, [N], in the order of the source; NaN where there was nothing to measure.
        loss: mean task loss per term, at the state where each example halted.
        steps: refinement steps taken, [N].
        routing: statistics of the gates and of refinement, plain numbers (see `_Routing.line`).
        examples: for the first few examples the gates per step and layer, [L|1][H]; empty unless asked for.
        looked: what else was asked for of each example, [N, ...].
    """

    metrics: dict[str, Tensor]
    loss: float
    steps: Tensor
    routing: dict[str, Any]
    examples: list[Any] = field(default_factory=list)
    looked: dict[str, Tensor] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """Each metric's mean over the examples that have a value; NaN if none has."""
        return {name: values.double().nanmean().item() for name, values in self.metrics.items()}


@torch.no_grad()
def score(
    model: TaskModel,
    source: Source,
    batch_size: int,
    examples: int = 0,
    processes: Processes | None = None,
    seed: int = 0,
    look: Look | None = None,
) -> Score:
    """Run `model` over `source` in evaluation mode, on the device where it is.

    Draws nothing from the global random numbers, so that validating more often does not change what is trained.

    Args:
        model: left in the mode in which it came.
        source: all of its examples are used.
        batch_size: at most so many at once; does not change the result.
        examples: keep the gates of so many of the first examples.
        processes: that share the source, each with batches of its own; all get the same score. Default this one alone.
        seed: of random initial states and of noise on the path, where there are any; an example draws from it and its
            index alone.
        look: asked of every batch.
    """
    processes = processes or Processes()
    training, device = model.training, next(model.parameters()).device
    model.eval()
    routing, scored = _Routing(model, examples), list[_Batch]()
    plan = source.plan(batch_size, seed=0, epoch=0, shuffle=False)
    own = plan[processes.rank :: processes.count]
    try:
        with torch.random.fork_rng(devices=[]), uncompiled(), unsharded(model):
            for number in range(math.ceil(len(plan) / processes.count)):
                # One batch more than its own keeps the others company: all put sharded weights together at once.
                index = own[number] if number < len(own) else plan[0]
                batch = source.batch(index) | {KEYS: keys_of(index, seed)}
                batch = {name: tensor.to(device) for name, tensor in batch.items()}
                x, layout = model.embed(batch)
                trace = model.backbone(x, layout, record=True)
                prediction = model.task.read_out(trace.states[-1], batch)
                if number < len(own):
                    loss, terms = model.task.loss(prediction, batch).sum(), model.task.terms(batch).sum()
                    metrics = model.task.metrics(prediction, batch)
                    # All that is read of a batch is queued for the host, and waited for once.
                    here = {name: _queued(values) for name, values in metrics.items()}
                    more = {} if look is None else look(prediction, batch, trace)
                    looked = {name: _queued(values) for name, values in more.items()}
                    trace, padding = _record(trace), None if layout.padding is None else _queued(layout.padding)
                    loss, terms = _queued(loss), _queued(terms)
                    if device.type != "cpu":
                        torch.accelerator.synchronize(device)
                    scored.append(_Batch(index, here, looked, trace.steps, loss.item(), terms.item()))
                    routing.add(trace, padding, index)
    finally:
        model.train(training)
    for rank, (others, found) in enumerate(processes.gather((scored, routing.found()))):
        if rank != processes.rank:
            scored.extend(others)
            routing.absorb(found)
    order = torch.cat([part.index for part in scored]).argsort()  # a plan may group examples by length

    def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}

    return Score(
        joined([part.metrics for part in scored]),
        sum(part.loss for part in scored) / max(sum(part.terms for part in scored), 1),
        torch.cat([part.steps for part in scored])[order],
        routing.line(),
        routing.kept(),
        joined([part.looked for part in scored]),
    )


@dataclass(frozen=True)
class _Batch:
    """What is kept of a batch: indices, metrics and steps [B] each, what else was looked at, summed loss, terms."""

    index: Tensor
    metrics: dict[str, Tensor]
    looked: dict[str, Tensor]
    steps: Tensor
    loss: float
    terms: float


def _queued(values: Tensor) -> Tensor:
    return values.to("cpu", non_blocking=True)


def _record(trace: Trace) -> Trace:
    """The trace with steps, gates, residuals and the controller's state queued for the host; hidden states stay."""
    gates = None if trace.gates is None else [[layer.on_host() for layer in layers] for layers in trace.gates]
    state = None if trace.carry.state is None else trace.carry.state.on_host()
    moved, carry = trace.residuals, replace(trace.carry, state=state)
    residuals = None if moved is None else _queued(moved)
    return replace(trace, steps=_queued(trace.steps), gates=gates, residuals=residuals, carry=carry)


def uncompiled() -> AbstractContextManager[None]:
    """Inside the block compiled modules run as they were written: batches there have sizes of their own."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and loading it would take as long as torch itself
        return nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


class _Routing:
    """Adds up what the gates of several batches did, an example counting only in the steps that it took."""

    def __init__(self, model: TaskModel, examples: int) -> None:
        self.backbone, self.examples = model.backbone, examples
        self.attentions = [module for module in self.backbone.modules() if isinstance(module, RoutedAttention)]
        self.rows = 0
        self.sums: dict[str, float] = {}
        # Layer -> statistics of parts, with the number of examples behind each
        self.statistics: dict[int, list[tuple[int, dict[str, float]]]] = {}
        self.loads: dict[int, list[tuple[int, list[float]]]] = {}
        self.used: dict[int, Tensor] = {}  # layer -> [H] bool
        self.gates: dict[tuple[int, int], tuple[int, list[float]]] = {}  # (step, layer) -> examples, gate sums [H]
        self.residuals: dict[int, tuple[int, float]] = {}  # update of the answer -> examples, sum
        self.first: dict[int, list[list[Any]]] = {}

    def add(self, trace: Trace, mask: Tensor | None, index: Tensor) -> None:
        batch = len(trace.steps)
        self.rows += batch
        self._sum("steps", trace.steps.sum().item())
        state = trace.carry.state
        if state is not None and state.slow_updates is not None:
            self._sum("slow_updates", pooled(state.slow_updates, mask).sum().item())
        cycle = self.backbone.arm.refinement.recursion.cycle
        for place, moved in enumerate([] if trace.residuals is None else trace.residuals, start=1):
            own = moved[trace.steps >= place * cycle].double()
            rows, total = self.residuals.get(place, (0, 0.0))
            self.residuals[place] = rows + len(own), total + own.sum().item()
        by_layer: dict[int, list[tuple[Gates, Tensor | None]]] = {}
        for t, layers in enumerate(trace.gates or [], start=1):
            running = (trace.steps >= t).nonzero().flatten()
            first = self.backbone.first_layer(t)
            for layer, gates in enumerate(layers):
                own = gates if len(running) == batch else gates.rows(running)
                own_mask = mask if mask is None or len(running) == batch else mask[running]
                by_layer.setdefault(first + layer, []).append((own, own_mask))
                self._mean_gates(t, layer, own, own_mask)
                if not self.attentions:  # layers of a pretrained model, which compute every head
                    continue
                # Of the states only shape and device count here.
                plan = self.attentions[first + layer].plan(own.weight, trace.states[0, : len(running)])
                self._sum("executed", plan.heads_executed.sum().item())
                self._sum("layers", len(running))
        for layer, pairs in by_layer.items():
            self._layer(layer, pairs)
        self._keep(trace, index)

    def found(self) -> dict[str, Any]:
        """What was added up so far, for `absorb` in another process."""
        return {name: value for name, value in vars(self).items() if name not in ("backbone", "attentions", "examples")}

    def absorb(self, found: Mapping[str, Any]) -> None:
        """Add what another process found on other examples."""
        self.rows += found["rows"]
        for name, value in found["sums"].items():
            self._sum(name, value)
        for name in ("statistics", "loads"):
            for layer, parts in found[name].items():
                getattr(self, name).setdefault(layer, []).extend(parts)
        for layer, used in found["used"].items():
            self.used[layer] = self.used[layer] | used if layer in self.used else used
        for place, (rows, sums) in found["gates"].items():
            own_rows, own = self.gates.get(place, (0, [0.0] * len(sums)))
            self.gates[place] = own_rows + rows, [a + b for a, b in zip(own, sums, strict=True)]
        for update, (rows, total) in found["residuals"].items():
            own_rows, own_total = self.residuals.get(update, (0, 0.0))
            self.residuals[update] = own_rows + rows, own_total + total
        self.first |= found["first"]

    def line(self) -> dict[str, Any]:
        """Numbers of a line of routing.jsonl."""
        heads, loop, steps = self.backbone.model.heads, self.backbone.arm.refinement, self._mean("steps")
        ponders = self.backbone.arm.halting.learned
        merged = _merged([part for layer in sorted(self.statistics) for part in self.statistics[layer]])
        if not merged:  # no router: every head, always
            merged = dict.fromkeys(("heads_active_mean", "heads_active_min", "heads_active_max"), float(heads))
        if self.used:
            merged["dead_heads"] = float(sum((~used).sum().item() for used in self.used.values()))
        begun = math.ceil(steps / loop.steps)
        # Over examples, steps and layers; without a router every head. With reuse=heads a segment's first step alone.
        executed = self.sums["executed"] / self.sums["layers"] if self.sums.get("layers") else float(heads)
        depth = 1 + max((layer for _, layer in self.gates), default=-1)
        last = max((step for step, _ in self.gates), default=0)
        return merged | {
            "heads_executed_mean": heads * begun / steps if loop.reuse == "heads" else executed,
            "refinement_steps_mean": steps,
            "slow_updates": self._mean("slow_updates"),
            "ponder_cost": steps if ponders else 0.0,
            "collapsed": ponders and steps < COLLAPSED,
            "temperature": self.backbone.temperature,
            # Mean over examples of how far each update moved the answer
            "residuals": [round(total / rows, 6) for _, (rows, total) in sorted(self.residuals.items()) if rows],
            "layers": [self._of_layer(layer, router) for layer, router in enumerate(self.backbone.routers())],
            "gates": [[self._gate(t, layer) for layer in range(depth)] for t in range(1, last + 1)],
        }

    def kept(self) -> list[Any]:
        """The gates of the first examples, in their order: per step, per layer, [L|1][H]."""
        return [self.first[i] for i in sorted(self.first)]

    def _layer(self, layer: int, pairs: Sequence[tuple[Gates, Tensor | None]]) -> None:
        for gates, mask in pairs:
            rows = len(gates.weight)
            self.statistics.setdefault(layer, []).append((rows, gate_statistics([gates], mask)))
            self.loads.setdefault(layer, []).append((rows, load(gates, mask)))
            on = gates.weight != 0  # [B, L|1, H]
            if mask is not None and on.shape[1] > 1:
                on = on & mask.unsqueeze(-1)
            used = on.flatten(0, 1).any(0).cpu()
            self.used[layer] = self.used[layer] | used if layer in self.used else used

    def _of_layer(self, layer: int, router: Router) -> dict[str, Any]:
        """One layer over all steps: statistics of its gates, share of tokens per head, state of its router."""
        parts = self.loads[layer]
        total = sum(rows for rows, _ in parts)
        used = [sum(rows * loads[head] for rows, loads in parts) / total for head in range(len(parts[0][1]))]
        merged = _merged(self.statistics[layer])
        merged["dead_heads"] = float((~self.used[layer]).sum().item())
        return merged | {"load": [round(value, 5) for value in used]} | router_state(router)

    def _mean_gates(self, step: int, layer: int, gates: Gates, mask: Tensor | None) -> None:
        rows, sums = self.gates.get((step, layer), (0, [0.0] * gates.weight.shape[-1]))
        new = len(gates.weight)
        mean = mean_gates(gates, mask)
        self.gates[step, layer] = rows + new, [a + new * b for a, b in zip(sums, mean, strict=True)]

    def _gate(self, step: int, layer: int) -> list[float]:
        rows, sums = self.gates[step, layer]
        return [round(value / rows, 5) for value in sums]

    def _keep(self, trace: Trace, index: Tensor) -> None:
        for row, example in enumerate(index.tolist()):
            if example < self.examples and trace.gates and trace.gates[0]:
                taken = trace.gates[: math.ceil(trace.steps[row].item())]
                self.first[example] = [
                    [[[round(w, 4) for w in token] for token in gates.weight[row].tolist()] for gates in layers]
                    for layers in taken
                ]

    def _sum(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value

    def _mean(self, name: str) -> float:
        return self.sums.get(name, 0.0) / max(self.rows, 1)


def _merged(statistics: Sequence[tuple[int, dict[str, float]]]) -> dict[str, float]:
    """Statistics of parts to one: smallest of minima, largest of maxima, means weighted by examples for the rest."""
    if not statistics:
        return {}
    total = sum(rows for rows, _ in statistics)
    merged = {}
    for name in statistics[0][1]:
        values = [(rows, part[name]) for rows, part in statistics]
        if name.endswith("_min"):
            merged[name] = min(value for _, value in values)
        elif name.endswith("_max"):
            merged[name] = max(value for _, value in values)
        else:
            merged[name] = sum(rows * value for rows, value in values) / total
    return merged
