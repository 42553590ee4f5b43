"""What a trained model writes into mazes: shares with intervals, by length of the path, the heads it uses, pictures."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from headwise.tasks.base import Source, TaskData, TaskModel
from headwise.tasks.examined import batches_of, chosen
from headwise.tasks.maze import gates, render
from headwise.tasks.maze.analysis import lengths, share, table
from headwise.tasks.maze.data import MazeSource
from headwise.tasks.maze_characters.characters import OPEN, PATH, answer, marks, question
from headwise.tasks.maze_characters.metrics import of_answer
from headwise.tasks.maze_characters.references import by_metric
from headwise.tasks.proportions import proportion

SHARES = ("exact", "optimal", "valid")
CAPTION = (
    "Shares of the mazes, with 95 % Wilson intervals. Exact: every character is right. Optimal: the path is a shortest "
    "one, whichever. Valid: it is one way from start to goal, however long. Below the model what needs no training."
)


@torch.no_grad()
def analyse(model: TaskModel, data: TaskData, source: Source, batch_size: int = 250) -> dict[str, Any]:
    """Metrics, tables and figures, as `TaskEntry.analysis` says.

    Args:
        model: of the task `maze_characters`, in evaluation mode.
        data: that the source belongs to.
        source: a split.
        batch_size: mazes at once.
    """
    assert isinstance(source, MazeSource)
    batches, task = partial(batches_of, model, source, batch_size), model.task
    written = torch.cat([task.read_out(model(batch).states[-1], batch).argmax(-1).cpu() for batch in batches()])
    found = of_answer(written, source.examples)
    metrics, routing = gates.examined(model, batches, task.metric)
    figures = [
        {
            "title": f"Maze {place}",
            "caption": _caption(found, place),
            "svg": render.svg(
                source.mazes,
                place,
                marked=marks(written, source.examples)[place].numpy(),
                wrong=wrong(written, source)[place].numpy(),
            ),
        }
        for place in chosen(found["exact"])
    ]
    tables = [_scores(found, source, data.seed), lengths("exact", found["exact"], source), *routing]
    return {"metrics": metrics, "tables": tables, "figures": figures}


def wrong(written: Tensor, source: MazeSource) -> Tensor:
    """The characters that are wrong in another way than by path in place of open or open of path, bool [B, N, N]."""
    batch = source.examples
    told = ((written == OPEN) | (written == PATH)) & (question(batch) == OPEN)
    return ((written != answer(batch)) & ~told).view_as(batch["on_path"])


def _scores(found: dict[str, Tensor], source: MazeSource, seed: int) -> dict[str, Any]:
    references = by_metric(source.mazes, source.examples, seed)
    rows = [["model", *(share(proportion(found[metric])) for metric in SHARES), _mean(found["characters_right"])]]
    for name in references["exact"]:
        if name not in ("floor", "ceiling"):
            shares = (share(proportion(references[metric][name])) for metric in SHARES)
            rows.append([name.replace("_", " "), *shares, _mean(references["characters_right"][name])])
    return table("Mazes answered", CAPTION, ["", *SHARES, "characters right"], rows)


def _mean(values: Tensor) -> str:
    return f"{values.double().mean().item():.2%}"


def _caption(found: dict[str, Tensor], place: int) -> str:
    if found["exact"][place]:
        return "Exact."
    if found["optimal"][place]:
        return "Not exact, but its path is a shortest one."
    return "A way, but not a shortest one." if found["valid"][place] else "Not solved."
