"""What a trained model does with walks: accuracy by number of hops, and which heads its router opens.

Legend: B walks, L tokens, H heads of which the first S see along a relation.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from headwise.reasoning.trace import Trace
from headwise.routing.layout import Layout, gates_of_route, heads_along
from headwise.tasks.base import Source, TaskData, TaskModel
from headwise.tasks.examined import batches_of
from headwise.tasks.proportions import proportion
from headwise.tasks.walk.model import WalkTask

HOPS_CAPTION = "Share of the walks whose end is found, with 95 % Wilson intervals."
BEYOND_CAPTION = "Instructions of more than {most} were not trained on."
GATES_CAPTION = (
    "Mean gate over walks, layers and tokens; 1 is plain attention. Instructed: heads of the relation that is to be "
    "followed at this step, of walks that still go on. Other: heads of the other relations. Global: heads that see all "
    "tokens."
)


@torch.no_grad()
def analyse(model: TaskModel, data: TaskData, source: Source, batch_size: int = 500) -> dict[str, Any]:
    """Metrics and tables, as `TaskEntry.analysis` says.

    Args:
        model: of the task `walk`, in evaluation mode.
        data: that the source belongs to.
        source: a split.
        batch_size: walks at once.
    """
    task = model.task
    assert isinstance(task, WalkTask)
    right, hops, opened = list[Tensor](), list[Tensor](), list[Tensor]()
    for batch in batches_of(model, source, batch_size):
        x, layout = model.embed(batch)
        trace = model.backbone(x, layout, record=True)
        right.append(task.metrics(task.read_out(trace.states[-1], batch), batch)["accuracy"].cpu())
        hops.append(batch["hops"].cpu())
        if trace.gates and trace.gates[0]:
            opened.append(_opened(model, trace, layout))
    tables = [_by_hops(torch.cat(right), torch.cat(hops), task.config.most_trained)]
    if opened and model.backbone.model.n_structural:
        tables.append(_by_step(torch.cat(opened, 1).cpu()))
    return {"tables": tables}


def _by_hops(right: Tensor, hops: Tensor, trained: int) -> dict[str, Any]:
    rows = []
    for n in sorted(set(hops.tolist())):
        found = proportion(right[hops == n])
        rows.append([f"{n} hop{'s' * (n > 1)}", found.n, found.share, found.low, found.high])
    beyond = hops.max() > trained
    caption = f"{HOPS_CAPTION} {BEYOND_CAPTION.format(most=trained)}" if beyond else HOPS_CAPTION
    return _table("By number of hops", caption, ["", "walks", "accuracy", "from", "to"], rows)


def _opened(model: TaskModel, trace: Trace, layout: Layout) -> Tensor:
    """Mean gate of instructed, other and global heads at each step, [steps, B, 3]; NaN where there are none."""
    assert trace.gates is not None
    shape, steps = model.backbone.model, len(trace.gates)
    along = heads_along(shape.structural_heads, tuple(layout.relations))
    rows = []
    for layers, route in zip(trace.gates, gates_of_route(layout, along, shape.heads, steps, trace.states), strict=True):
        gate = torch.stack([layer.weight.mean(1) for layer in layers]).mean(0)  # [B, H]
        asked = route[:, 0] > 0  # [B, H]
        along_one = torch.arange(shape.heads, device=gate.device) < len(along)
        kinds = (asked & along_one, ~asked & along_one, ~along_one.expand_as(asked))
        walking = (asked & along_one).any(1, keepdim=True)
        rows.append(torch.stack([_mean(gate, kind & (walking | ~along_one)) for kind in kinds], 1))
    return torch.stack(rows)


def _mean(gate: Tensor, among: Tensor) -> Tensor:
    """Mean over the heads that are meant, [B]; NaN where none is."""
    return torch.where(among, gate, 0).sum(1) / among.sum(1)


def _by_step(opened: Tensor) -> dict[str, Any]:
    rows = []
    for t, part in enumerate(opened, start=1):
        means = ["-" if math.isnan(mean) else mean for mean in part.double().nanmean(0).tolist()]
        rows.append([f"step {t}", *means])
    return _table("Gates by step", GATES_CAPTION, ["", "instructed", "other", "global"], rows)


def _table(title: str, caption: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "columns": columns, "rows": rows}
