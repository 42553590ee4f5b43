"""What a trained model does with mazes: shares with intervals, by length of the path, the heads it uses, pictures.

Legend: B mazes, N side.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from headwise.tasks.base import Source, TaskData, TaskModel
from headwise.tasks.examined import Batches, batches_of, chosen
from headwise.tasks.maze import gates, references, render
from headwise.tasks.maze.data import MazeSource
from headwise.tasks.maze.decoding import Decoded, walk_asking
from headwise.tasks.maze.metrics import by_length, of_walk
from headwise.tasks.maze.model import MazeTask
from headwise.tasks.maze.read_outs import Grid, NextCell
from headwise.tasks.maze.walkers import walk
from headwise.tasks.proportions import Proportion, proportion

COMPARED = 250
"""Mazes walked twice, to see whether committing moves changes where a walk goes."""

SCORES_CAPTION = (
    "Shares of the mazes, with 95 % Wilson intervals. Reached: a walk that prefers unvisited cells arrives, within as "
    "many moves as there are cells. Optimal: in the smallest number of moves. Below the model walkers without training."
)
LENGTH_CAPTION = "Mazes by the moves of their shortest path; about equally many in each row."
ASKING_CAPTION = (
    "Walks that ask the model again, from where they stand, wherever its best move is less probable than {sure:g}. "
    "Compared with asking at every choice: the share of {count} mazes in which both go the same way. "
    "Seconds: all of these walks together."
)


@torch.no_grad()
def analyse(model: TaskModel, data: TaskData, source: Source, batch_size: int = 250) -> dict[str, Any]:
    """Metrics, tables and figures, as `TaskEntry.analysis` says.

    Args:
        model: of the task `maze`, in evaluation mode.
        data: that the source belongs to.
        source: a split.
        batch_size: mazes at once.
    """
    assert isinstance(source, MazeSource)
    batches = partial(batches_of, model, source, batch_size)
    task = model.task
    assert isinstance(task, MazeTask)
    predictions = [task.read_out(model(batch).states[-1], batch) for batch in batches()]
    moves = torch.cat([task.moves(prediction).cpu() for prediction in predictions])
    walked = walk(source.examples, moves)
    marks = torch.cat(predictions).cpu() > 0 if isinstance(task.config.read_out, Grid) else None
    found = of_walk(walked, source.examples)
    metrics, routing = gates.examined(model, batches, task.metric)
    tables = [_scores(found, source, data.seed), lengths("optimal", found["optimal"], source), *routing]
    if isinstance(task.config.read_out, NextCell) and task.config.read_out.decode == "each_step":
        asked, asking = _asking(model, batches, task.config.read_out.sure_enough)
        metrics |= asked
        tables.append(asking)
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


def _scores(found: dict[str, Tensor], source: MazeSource, seed: int) -> dict[str, Any]:
    walkers = references.by_metric(source.mazes, seed)
    names = [name for name in walkers["optimal"] if name not in ("floor", "ceiling")]
    rows = [["model", *(share(proportion(found[metric])) for metric in references.METRICS)]]
    rows += [
        [name.replace("_", " "), *(share(proportion(walkers[metric][name])) for metric in references.METRICS)]
        for name in names
    ]
    return table("Mazes solved", SCORES_CAPTION, ["", *references.METRICS], rows)


def lengths(metric: str, values: Tensor, source: MazeSource) -> dict[str, Any]:
    """A table of a metric that is 0 or 1, by the length of the shortest path."""
    rows = [
        [f"{row.shortest} to {row.longest}", row.value.n, row.value.share, row.value.low, row.value.high]
        for row in by_length(values, source.examples["length"])
    ]
    return table("By length of the path", LENGTH_CAPTION, ["moves", "mazes", metric, "from", "to"], rows)


def _asking(model: TaskModel, batches: Batches, sure: float) -> tuple[dict[str, float], dict[str, Any]]:
    began = time.perf_counter()
    decoded = [walk_asking(model, batch, sure) for batch in batches()]
    seconds = time.perf_counter() - began
    measured = [of_walk(one.walk, batch) for one, batch in zip(decoded, batches(), strict=True)]
    same = _same(decoded, [walk_asking(model, batch) for batch in batches(COMPARED)])
    metrics = {
        f"{name}_each_step": torch.cat([part[name] for part in measured]).cpu().double().nanmean().item()
        for name in ("optimal", "reached", "excess_length")
    }
    metrics["passes_each_step"] = torch.cat([one.passes for one in decoded]).cpu().double().mean().item()
    metrics["seconds_each_step"] = seconds
    metrics["same_each_step"] = sum(same) / len(same)
    rows = [[name.removesuffix("_each_step").replace("_", " "), value] for name, value in metrics.items()]
    caption = ASKING_CAPTION.format(sure=sure, count=len(same))
    return metrics, table("Asking at each step", caption, ["", "mean"], rows)


def _same(decoded: Sequence[Decoded], plain: Sequence[Decoded]) -> list[bool]:
    """For each maze of `plain`, whether both walks are the same."""
    ways, others = ([_way(row) for one in part for row in one.walk.cells] for part in (decoded, plain))
    return [way == other for way, other in zip(ways, others, strict=False)]


def _way(cells: Tensor) -> list[int]:
    return [cell for cell in cells.tolist() if cell >= 0]


def _caption(solved: bool) -> str:
    return "Solved." if solved else "Not solved."


def share(value: Proportion) -> str:
    """With its interval, in per cent."""
    if math.isnan(value.share):
        return "-"
    return f"{value.share:.1%} ({value.low:.1%} to {value.high:.1%})"


def table(title: str, caption: str, columns: list[str], rows: list[list[Any]]) -> dict[str, Any]:
    """As `TaskEntry.analysis` has tables."""
    return {"title": title, "caption": caption, "columns": columns, "rows": rows}
