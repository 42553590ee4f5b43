"""What analyses of tasks have in common: the examples as they were scored, which of them to draw, and what the gates of
a router were on average.

Legend: B examples of a batch, L tokens, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from headwise.reasoning.draws import keys_of
from headwise.reasoning.trace import Trace
from headwise.tasks.base import KEYS, Batch, Source, TaskModel

Batches = Callable[..., Iterator[Batch]]
"""The examples in order, batch by batch, on the model's device: all, or the first so many."""

PICTURES = 4
ROUTED = 250
"""Examples over which gates are averaged."""


class First(Source):
    """The first examples of a source."""

    def __init__(self, source: Source, number: int) -> None:
        self.source, self.number = source, min(number, len(source))

    def __len__(self) -> int:
        return self.number

    def batch(self, index: Tensor) -> Batch:
        return self.source.batch(index)

    def names(self, index: int) -> Sequence[str]:
        return self.source.names(index)


class Spread(First):
    """So many examples from all parts of a source: what a corpus begins with is no sample of it."""

    def batch(self, index: Tensor) -> Batch:
        return self.source.batch(self._place(index))

    def names(self, index: int) -> Sequence[str]:
        return self.source.names(int(self._place(torch.tensor(index))))

    def _place(self, index: Tensor) -> Tensor:
        return index * len(self.source) // self.number


def batches_of(model: TaskModel, source: Source, size: int, most: int | None = None) -> Iterator[Batch]:
    """The examples in order on the model's device, so many at once; all of them, or the first so many. What is random
    about their refinement is drawn as it was when they were scored."""
    device = next(model.parameters()).device
    for index in torch.split(torch.arange(len(source))[:most], size):
        batch = source.batch(index) | {KEYS: keys_of(index, 0)}
        yield {name: array.to(device) for name, array in batch.items()}


def chosen(solved: Tensor, number: int = PICTURES) -> list[int]:
    """Places of the examples to draw: half of them the first that were solved (1 of 0 and 1), half the first that were
    not, as far as there are."""
    right, wrong = (solved == 1).nonzero()[:, 0].tolist(), (solved != 1).nonzero()[:, 0].tolist()
    half = number // 2
    return sorted([*right[: max(half, number - len(wrong))], *wrong[: max(half, number - len(right))]])


def is_routed(model: TaskModel) -> bool:
    """Whether something weighs the heads."""
    return any(True for _ in model.backbone.routers())


@dataclass
class GateSums:
    """Sums of the gates of many examples, by refinement step.

    Attributes:
        examples: how many were still being refined at each step.
        gates: per step and layer the sum [H] over examples of the mean gate over tokens.
    """

    examples: list[float] = field(default_factory=list)
    gates: list[list[Tensor]] = field(default_factory=list)

    def add(self, trace: Trace) -> None:
        """The gates of a batch, recorded; an example counts in the steps that it took."""
        for t, layers in enumerate(trace.gates or []):
            running = trace.steps > t
            sums = [gates.weight.mean(1)[running].sum(0) for gates in layers]
            if t == len(self.gates):
                self.examples.append(0.0)
                self.gates.append([torch.zeros_like(layer) for layer in sums])
            self.examples[t] += float(running.sum())
            self.gates[t] = [before + layer for before, layer in zip(self.gates[t], sums, strict=True)]

    def mean(self) -> list[list[Tensor]]:
        """Per step and layer the mean gate of each head, [H]."""
        return [[layer / count for layer in layers] for count, layers in zip(self.examples, self.gates, strict=True)]


@torch.no_grad()
def at_mean_gates(
    model: TaskModel, batches: Iterable[Batch], sums: GateSums, metrics: Sequence[str]
) -> dict[str, float]:
    """Whether it matters what the router chooses: metrics once more with every head's gate at its mean, as
    `<metric>_mean_gates`. None where the model halts by the router's choice, of which forced gates leave none.

    Args:
        model: in evaluation mode.
        batches: of its examples.
        sums: of its gates.
        metrics: names of those that are measured again.
    """
    task, arm, mean = model.task, model.backbone.arm, sums.mean()
    if arm.halting.reads_distribution:
        return {}
    found: list[dict[str, Any]] = []
    for batch in batches:
        state = model(batch, gates=forced(mean, batch, arm.refinement.steps_in_all)).states[-1]
        found.append(task.metrics(task.read_out(state, batch), batch))
    return {
        f"{name}_mean_gates": torch.cat([part[name] for part in found]).cpu().double().mean().item() for name in metrics
    }


def forced(mean: list[list[Tensor]], batch: Batch, steps: int) -> list[list[Tensor]]:
    """These gates for every token of every example, as `TaskModel.forward` takes them: [B, 1, H] per step and layer.

    Where halting is learned, examples may take more steps under these gates than they took before, up to `steps`: the
    last gates stand for those.
    """
    B = len(next(iter(batch.values())))
    whole = mean + [mean[-1]] * (steps - len(mean))
    return [[layer.expand(B, 1, -1) for layer in layers] for layers in whole]
