"""What a model did on one example, step by step: answers, gates, where heads looked, residuals, halting.

Legend: A updates of the answer, N layers, L tokens, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headwise.models.backbone import Backbone
from headwise.models.following import Seen, following
from headwise.reasoning.halting import Judge
from headwise.reasoning.trace import Trace
from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.scenes import Example, Scene


@dataclass(frozen=True)
class Watched:
    """A model on an example.

    Attributes:
        scene: the example and its A answers.
        numbers: the refinement step after which each answer stood, from 1.
        most: steps that there could have been.
        gates: at the step that updated the answer, [A, N, L, H], or [A, N, 1, H] where all tokens have the same; 0 is
            off, 1 plain attention. None without a router.
        looks: attention weights there, [A, N, H, L, L]; None where the layers are not headwise's own.
        real: bool [L], tokens that are no padding.
        residual: how far each update moved the answer, as a share of its length; none where it was not measured.
        metrics: those of the task for each answer; none of an example without what is right.
        halting: after each answer the probability that the model had stopped by then, or, where halting judges
            answers, that it is right; None where it was not asked.
        halting_means: what that number is, in a few words; empty without learned halting.
        halted: whether it stopped before `most`.
    """

    scene: Scene
    numbers: Sequence[int]
    most: int
    gates: Tensor | None
    looks: Tensor | None
    real: Tensor
    residual: Sequence[float]
    metrics: Sequence[Mapping[str, float]]
    halting: Sequence[float | None]
    halting_means: str
    halted: bool


@torch.no_grad()
def watch(model: TaskModel, example: Example) -> Watched:
    """Run a model, in evaluation mode, on an example; its last answer is the one that it is scored with."""
    batch, task, backbone = example.batch, model.task, model.backbone
    x, layout = model.embed(batch)
    most = backbone.arm.refinement.steps_in_all
    if isinstance(backbone, Backbone):
        with following(backbone, looks=True) as seen:
            trace = backbone(x, layout, record=True)
        states = [backbone.norm(state) for state in seen.states]
        cycle = backbone.arm.refinement.recursion.cycle
    else:  # a stack that a task brings along, applied once
        trace = backbone(x, layout, record=True)
        seen, states, cycle = Seen(), [trace.states[-1]], 1
    numbers = [cycle * (place + 1) for place in range(len(states))]
    predictions = [task.read_out(state, batch) for state in states]
    halting, means = _halting(backbone, seen, numbers)
    return Watched(
        task.scene(example, predictions),
        numbers,
        most,
        _gates(trace, numbers, x.shape[1]),
        torch.stack([torch.stack([layer[0] for layer in step]) for step in seen.looks]) if seen.looks else None,
        torch.ones(x.shape[1], dtype=torch.bool) if layout.padding is None else layout.padding[0],
        [] if trace.residuals is None else trace.residuals[: len(states), 0].tolist(),
        [_metrics(task, prediction, batch) for prediction in predictions] if example.solved else [],
        halting,
        means,
        bool(numbers[-1] < most),
    )


def _gates(trace: Trace, numbers: Sequence[int], length: int) -> Tensor | None:
    """[A, N, L|1, H], at the steps that updated the answer."""
    if not trace.gates or not trace.gates[0]:
        return None
    steps = [torch.stack(_alike([layer.weight[0] for layer in trace.gates[n - 1]], length)) for n in numbers]
    return torch.stack(_alike(steps, length))


def _alike(parts: list[Tensor], length: int) -> list[Tensor]:
    """Gates [..., L|1, H] all with as many tokens."""
    if len({part.shape[-2] for part in parts}) == 1:
        return parts
    return [part.expand(*part.shape[:-2], length, part.shape[-1]) for part in parts]


def _metrics(task: Any, prediction: Any, batch: Batch) -> dict[str, float]:
    return {name: float(value[0]) for name, value in task.metrics(prediction, batch).items()}


def _halting(backbone: Any, seen: Seen, numbers: Sequence[int]) -> tuple[list[float | None], str]:
    """For each answer what halting said, and what the number is."""
    said: dict[int, float] = {}
    going = 1.0
    judges = isinstance(backbone, Backbone) and isinstance(backbone.refiner.halting, Judge)
    for step, value in seen.halting:
        going *= 1 - float(value[0])
        said[step] = float(value[0].sigmoid()) if judges else 1 - going
    means = "" if not said else "judged right with" if judges else "stopped by now with"
    return [said.get(number) for number in numbers], means
