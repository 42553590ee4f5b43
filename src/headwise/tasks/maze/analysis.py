"""What a trained model does with mazes: shares with intervals, by length of the path, the heads it uses, pictures.

Legend: B mazes, N side, H heads of which S are structural.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from headwise.models.backbone import Backbone
from headwise.tasks.base import Batch, Source, TaskData, TaskModel
from headwise.tasks.maze import references, render
from headwise.tasks.maze.data import MazeSource
from headwise.tasks.maze.decoding import Decoded, walk_asking
from headwise.tasks.maze.metrics import Proportion, by_length, of_walk, proportion
from headwise.tasks.maze.model import MazeTask
from headwise.tasks.maze.read_outs import Grid, NextCell
from headwise.tasks.maze.walkers import walk

BATCH = 250
ROUTED = 250
"""Mazes over which gates are averaged."""
COMPARED = 100
"""Mazes walked twice, to see whether committing moves changes where a walk goes."""
PICTURES = 4

SCORES_CAPTION = (
    "Shares of the mazes, with 95 % Wilson intervals. Reached: a walk that prefers unvisited cells arrives, within as "
    "many moves as there are cells. Optimal: in the smallest number of moves. Below the model walkers without training."
)
LENGTH_CAPTION = "Mazes by the moves of their shortest path; about equally many in each row."
GATES_CAPTION = (
    "Mean gate of heads that see only cells behind open passages (local) and of those that see all cells (global), "
    "over layers, by refinement step; 1 is plain attention."
)
ASKING_CAPTION = (
    "Walks that ask the model again, from where they stand, wherever its best move is less probable than {sure:g}. "
    "Compared with asking at every cell: the share of {count} mazes in which both go the same way."
)


@torch.no_grad()
def analyse(model: TaskModel, data: TaskData, source: Source) -> dict[str, Any]:
    """Metrics, tables and figures, as `TaskEntry.analysis` says.

    Args:
        model: of the task `maze`, in evaluation mode.
        data: that the source belongs to.
        source: a split.
    """
    assert isinstance(source, MazeSource)
    task = model.task
    assert isinstance(task, MazeTask)
    predictions = [task.read_out(model(batch).states[-1], batch) for batch in _batches(model, source)]
    moves = torch.cat([task.moves(prediction).cpu() for prediction in predictions])
    walked = walk(source.examples, moves)
    marks = torch.cat(predictions).cpu() > 0 if isinstance(task.config.read_out, Grid) else None
    found = of_walk(walked, source.examples)
    metrics: dict[str, float] = {}
    tables = [_scores(found, source, data.seed), _lengths(found["optimal"], source), *_gates(model, source)]
    if isinstance(task.config.read_out, NextCell) and task.config.read_out.decode == "each_step":
        metrics, table = _asking(model, source, task.config.read_out.sure)
        tables.append(table)
    figures = [
        {
            "title": f"Maze {place}",
            "caption": _caption(bool(found["optimal"][place])),
            "svg": render.svg(
                source.mazes,
                place,
                marked=None if marks is None else marks[place].numpy(),
                walked=walked.cells[place].numpy() if marks is None else None,
            ),
        }
        for place in chosen(found["optimal"])
    ]
    return {"metrics": metrics, "tables": tables, "figures": figures}


def chosen(optimal: Tensor, number: int = PICTURES) -> list[int]:
    """Places of the mazes to draw: half of them the first that were solved, half the first that were not, as far as
    there are."""
    solved, failed = (optimal == 1).nonzero()[:, 0].tolist(), (optimal != 1).nonzero()[:, 0].tolist()
    half = number // 2
    return sorted([*solved[: max(half, number - len(failed))], *failed[: max(half, number - len(solved))]])


def _batches(model: TaskModel, source: MazeSource, most: int | None = None) -> Iterator[Batch]:
    device = next(model.parameters()).device
    for index in torch.split(torch.arange(len(source))[:most], BATCH):
        yield {name: array.to(device) for name, array in source.batch(index).items()}


def _scores(found: dict[str, Tensor], source: MazeSource, seed: int) -> dict[str, Any]:
    walkers = references.by_metric(source.mazes, seed)
    names = [name for name in walkers["optimal"] if name not in ("floor", "ceiling")]
    rows = [["model", *(_share(proportion(found[metric])) for metric in references.METRICS)]]
    rows += [
        [name.replace("_", " "), *(_share(proportion(walkers[metric][name])) for metric in references.METRICS)]
        for name in names
    ]
    return _table("Mazes solved", SCORES_CAPTION, ["", *references.METRICS], rows)


def _lengths(optimal: Tensor, source: MazeSource) -> dict[str, Any]:
    rows = [
        [f"{row.shortest} to {row.longest}", row.value.n, row.value.share, row.value.low, row.value.high]
        for row in by_length(optimal, source.examples["length"])
    ]
    return _table("By length of the path", LENGTH_CAPTION, ["moves", "mazes", "optimal", "from", "to"], rows)


def _gates(model: TaskModel, source: MazeSource) -> list[dict[str, Any]]:
    """How much local and global heads are used, if there are both and something that weighs them."""
    backbone: Backbone = model.backbone
    local, heads = backbone.model.structural_heads, backbone.model.heads
    if not 0 < local < heads or not any(True for _ in backbone.routers()):
        return []
    sums: list[list[float]] = []  # per step: examples, sum of local gates, of global ones
    for batch in _batches(model, source, ROUTED):
        trace = model(batch, record=True)
        for t, layers in enumerate(trace.gates or []):
            running = trace.steps > t
            mean = torch.stack([gates.weight.mean(1) for gates in layers]).mean(0)[running]  # [B, H]
            if t == len(sums):
                sums.append([0.0, 0.0, 0.0])
            parts = (float(len(mean)), mean[:, :local].mean(1).sum().item(), mean[:, local:].mean(1).sum().item())
            sums[t] = [a + b for a, b in zip(sums[t], parts, strict=True)]
    rows = [[f"step {t}", near / count, far / count] for t, (count, near, far) in enumerate(sums, start=1) if count]
    return [_table("Local and global heads", GATES_CAPTION, ["", "local", "global"], rows)]


def _asking(model: TaskModel, source: MazeSource, sure: float) -> tuple[dict[str, float], dict[str, Any]]:
    decoded = [walk_asking(model, batch, sure) for batch in _batches(model, source)]
    measured = [of_walk(one.walk, batch) for one, batch in zip(decoded, _batches(model, source), strict=True)]
    same = _same(decoded, [walk_asking(model, batch) for batch in _batches(model, source, COMPARED)])
    metrics = {
        f"{name}_each_step": torch.cat([part[name] for part in measured]).double().nanmean().item()
        for name in ("optimal", "reached", "excess_length")
    }
    metrics["passes_each_step"] = torch.cat([one.passes for one in decoded]).double().mean().item()
    metrics["same_each_step"] = sum(same) / len(same)
    rows = [[name.removesuffix("_each_step").replace("_", " "), value] for name, value in metrics.items()]
    caption = ASKING_CAPTION.format(sure=sure, count=len(same))
    return metrics, _table("Asking at each step", caption, ["", "mean"], rows)


def _same(decoded: Sequence[Decoded], plain: Sequence[Decoded]) -> list[bool]:
    """For each maze of `plain`, whether both walks are the same."""
    ways, others = ([_way(row) for one in part for row in one.walk.cells] for part in (decoded, plain))
    return [way == other for way, other in zip(ways, others, strict=False)]


def _way(cells: Tensor) -> list[int]:
    return [cell for cell in cells.tolist() if cell >= 0]


def _caption(solved: bool) -> str:
    return "Solved." if solved else "Not solved."


def _share(value: Proportion) -> str:
    if math.isnan(value.share):
        return "-"
    return f"{value.share:.1%} ({value.low:.1%} to {value.high:.1%})"


def _table(title: str, caption: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"title": title, "caption": caption, "columns": columns, "rows": rows}
