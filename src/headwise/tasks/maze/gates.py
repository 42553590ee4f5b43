"""What a router does with heads that see the neighbouring cells (local) and heads that see the whole maze (global).

Legend: B mazes, L cells, H heads of which the first S are local.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from headwise.models.backbone import Backbone
from headwise.tasks.base import Batch, TaskModel

STEPS = "Mean gate over layers and cells, by refinement step; 1 is plain attention. {kinds}"
CELLS = "The same at the last step, by what kind of cell asks."
KINDS = "Local heads see only cells behind open passages, global heads all cells."


Batches = Callable[..., Iterator[Batch]]
"""The examples in order, batch by batch, on the model's device: all, or the first so many."""

ROUTED = 250
"""Mazes over which gates are averaged."""


def examined(model: TaskModel, batches: Batches, metric: str) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """What the router does, and whether it matters: the mazes once more with every head's gate at its mean.

    Args:
        model: of a task on mazes, in evaluation mode.
        batches: its mazes.
        metric: the one that is measured again; it is returned as `<metric>_mean_gates`.

    Returns:
        Metrics and tables, as `TaskEntry.analysis` has them; none of a model without a router.
    """
    if not is_routed(model):
        return {}, []
    task = model.task
    backbone: Backbone = model.backbone
    used = usage(model, batches(ROUTED))
    mean, steps = used.mean(), backbone.arm.refinement.steps_in_all
    local = backbone.model.n_structural
    found = tables(used, local) if 0 < local < backbone.model.heads else []
    if backbone.arm.halting.reads_distribution:
        return {}, found  # it halts by the router's choice, of which forced gates leave none
    values: list[Tensor] = []
    for batch in batches():
        state = model(batch, gates=forced(mean, batch, steps)).states[-1]
        values.append(task.metrics(task.read_out(state, batch), batch)[metric])
    return {f"{metric}_mean_gates": torch.cat(values).cpu().double().mean().item()}, found


@dataclass
class Usage:
    """Sums of the gates of many mazes, by refinement step.

    Attributes:
        mazes: how many were still being refined at each step.
        gates: per step and layer the sum [H] over mazes of the mean gate over cells.
        cells: {kind of cell: [cells, sum of their local gates, sum of their global ones]} at the last step; empty where
            all cells of a maze have the same gates.
    """

    mazes: list[float] = field(default_factory=list)
    gates: list[list[Tensor]] = field(default_factory=list)
    cells: dict[str, list[float]] = field(default_factory=dict)

    def mean(self) -> list[list[Tensor]]:
        """Per step and layer the mean gate of each head, [H]."""
        return [[layer / count for layer in layers] for count, layers in zip(self.mazes, self.gates, strict=True)]


def is_routed(model: TaskModel) -> bool:
    """Whether something weighs the heads."""
    backbone: Backbone = model.backbone
    return any(True for _ in backbone.routers())


@torch.no_grad()
def usage(model: TaskModel, batches: Iterable[Batch]) -> Usage:
    """The gates of a model with a router, in evaluation mode, over batches of mazes."""
    local = model.backbone.model.n_structural
    used = Usage()
    for batch in batches:
        trace = model(batch, record=True)
        recorded = trace.gates or []
        for t, layers in enumerate(recorded):
            running = trace.steps > t
            sums = [gates.weight.mean(1)[running].sum(0) for gates in layers]
            if t == len(used.gates):
                used.mazes.append(0.0)
                used.gates.append([torch.zeros_like(layer) for layer in sums])
            used.mazes[t] += float(running.sum())
            used.gates[t] = [before + layer for before, layer in zip(used.gates[t], sums, strict=True)]
        last = torch.stack([gates.weight for gates in recorded[-1]]).mean(0)  # [B, L|1, H]
        if last.shape[1] > 1 and 0 < local < last.shape[2]:
            near, far = last[..., :local].mean(-1), last[..., local:].mean(-1)
            for kind, chosen in kinds(batch).items():
                parts = (float(chosen.sum()), near[chosen].sum().item(), far[chosen].sum().item())
                used.cells[kind] = [a + b for a, b in zip(used.cells.get(kind, [0.0] * 3), parts, strict=True)]
    return used


def kinds(batch: Batch) -> dict[str, Tensor]:
    """Which cells are of which kind, bool [B, L]; start and goal by where they lie, as the others."""
    ways = batch["open"].sum(-1).flatten(1)
    path = batch["on_path"].flatten(1)
    return {
        "dead end (one way out)": ways == 1,
        "corridor (two)": ways == 2,
        "junction (three or four)": ways > 2,
        "on the shortest path": path,
        "off it": ~path,
    }


def forced(mean: list[list[Tensor]], batch: Batch, steps: int) -> list[list[Tensor]]:
    """These gates for every cell of every maze, as `TaskModel.forward` takes them: [B, 1, H] per step and layer.

    Where halting is learned, mazes may take more steps under these gates than they took before, up to `steps`: the last
    gates stand for those.
    """
    B = len(batch["start"])
    whole = mean + [mean[-1]] * (steps - len(mean))
    return [[layer.expand(B, 1, -1) for layer in layers] for layers in whole]


def tables(used: Usage, local: int) -> list[dict[str, Any]]:
    """Local against global heads, by step and by kind of cell, as tables of the report.

    Args:
        used: gates of a model of which some heads, but not all, are local.
        local: S.
    """
    rows = []
    for t, layers in enumerate(used.mean(), start=1):
        gate = torch.stack(layers).mean(0)
        rows.append([f"step {t}", gate[:local].mean().item(), gate[local:].mean().item()])
    found = [_table("Local and global heads", STEPS.format(kinds=KINDS), rows)]
    if used.cells:
        rows = [[kind, near / count, far / count] for kind, (count, near, far) in used.cells.items() if count]
        found.append(_table("Local and global heads by cell", CELLS, rows))
    return found


def _table(title: str, caption: str, rows: list[list[Any]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "columns": ["", "local", "global"], "rows": rows}
