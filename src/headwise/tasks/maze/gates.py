"""What a router does with heads that see the neighbouring cells (local) and heads that see the whole maze (global).

Legend: B mazes, L cells, H heads of which the first S are local.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.examined import ROUTED, Batches, GateSums, at_mean_gates, is_routed

STEPS = "Mean gate over layers and cells, by refinement step; 1 is plain attention. {kinds}"
CELLS = "The same at the last step, by what kind of cell asks."
KINDS = "Local heads see only cells behind open passages, global heads all cells."


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
    used = usage(model, batches(ROUTED))
    shape = model.backbone.model
    found = tables(used, shape.n_structural) if 0 < shape.n_structural < shape.heads else []
    return at_mean_gates(model, batches(), used.sums, [metric]), found


@dataclass
class Usage:
    """The gates of many mazes.

    Attributes:
        sums: of all heads, by refinement step.
        cells: {kind of cell: [cells, sum of their local gates, sum of their global ones]} at the last step; empty where
            all cells of a maze have the same gates.
    """

    sums: GateSums = field(default_factory=GateSums)
    cells: dict[str, list[float]] = field(default_factory=dict)


@torch.no_grad()
def usage(model: TaskModel, batches: Iterable[Batch]) -> Usage:
    """The gates of a model with a router, in evaluation mode, over batches of mazes."""
    local = model.backbone.model.n_structural
    used = Usage()
    for batch in batches:
        trace = model(batch, record=True)
        used.sums.add(trace)
        last = torch.stack([gates.weight for gates in trace.gates[-1]]).mean(0)  # [B, L|1, H]
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


def tables(used: Usage, local: int) -> list[dict[str, Any]]:
    """Local against global heads, by step and by kind of cell, as tables of the report.

    Args:
        used: gates of a model of which some heads, but not all, are local.
        local: S.
    """
    rows = []
    for t, layers in enumerate(used.sums.mean(), start=1):
        gate = torch.stack(layers).mean(0)
        rows.append([f"step {t}", gate[:local].mean().item(), gate[local:].mean().item()])
    found = [_table("Local and global heads", STEPS.format(kinds=KINDS), rows)]
    if used.cells:
        rows = [[kind, near / count, far / count] for kind, (count, near, far) in used.cells.items() if count]
        found.append(_table("Local and global heads by cell", CELLS, rows))
    return found


def _table(title: str, caption: str, rows: list[list[Any]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "columns": ["", "local", "global"], "rows": rows}
