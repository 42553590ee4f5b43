"""A maze as it is drawn: its walls, and cells marked or walked after each answer. Legend: N side, L = N * N cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.maze.lattice import NOWHERE
from headwise.tasks.maze.metrics import is_shortest_path, is_simple_walk
from headwise.tasks.maze.read_outs import MarkedCells
from headwise.tasks.maze.walkers import best, walk
from headwise.tasks.scenes import Example, Scene, cells_of, counted, percent, places

if TYPE_CHECKING:
    from headwise.tasks.maze.model import MazeTask

SIDES = (1, 2, 4, 8)


def scene(task: MazeTask, example: Example, predictions: Sequence[Any]) -> Scene:
    """The maze with the cells that are marked, or the walk and the preferred move of every cell."""
    batch = example.batch
    open_cells = batch["open"][0].any(-1).flatten()  # [L]
    closed = (~batch["open"][0]).flatten(0, 1).long() @ torch.tensor(SIDES)  # [L]
    draw = _marks if isinstance(task.scores, MarkedCells) else _moves
    return Scene(
        "grid",
        {**grid(batch), "walls": closed.tolist()},
        [draw(task, prediction, batch, open_cells) for prediction in predictions],
        cells_of(*batch["open"].shape[1:3]),
        places(open_cells),
    )


def grid(batch: Batch) -> dict[str, Any]:
    """What of a question is the same for mazes with walls of their own and mazes in characters."""
    path = batch["path"][0]
    return {
        "rows": batch["open"].shape[1],
        "columns": batch["open"].shape[2],
        "solid": places(~batch["open"][0].any(-1)),
        "start": int(batch["start"][0]),
        "goal": int(batch["goal"][0]),
        "path": path[path != NOWHERE].tolist(),
    }


def verdicts(marked: Tensor, batch: Batch) -> tuple[dict[str, list[int]], str]:
    """Marked cells bool [N, N] by whether they are right, and that in words; another shortest way is right, too."""
    path = marked if bool(is_shortest_path(marked[None], batch)) else batch["on_path"][0]
    found = {
        "right": places(marked & path),
        "wrong": places(marked & ~path),
        "missing": places(path & ~marked),
    }
    if not found["wrong"] and not found["missing"]:
        return found, "the shortest way, whole"
    said = f"{counted(len(found['right']), 'cell')} of the way found"
    for key, words in (("missing", "missing"), ("wrong", "marked beside it")):
        said += f", {len(found[key])} {words}" if found[key] else ""
    return found, said


def _marks(task: MazeTask, scores: Tensor, batch: Batch, open_cells: Tensor) -> dict[str, Any]:
    probability = scores[0].sigmoid()
    found, said = verdicts(scores[0] > 0, batch)
    cells, walked = _walk(task, scores, batch)
    sure = torch.maximum(probability, 1 - probability).flatten()[open_cells].mean()
    said = f"marks: {said}; {walked}"
    return {"mark": percent(probability), **found, "walk": cells, "said": said, "confidence": float(sure)}


def _moves(task: MazeTask, scores: Tensor, batch: Batch, open_cells: Tensor) -> dict[str, Any]:
    moves, passages = task.moves(scores), batch["open"]
    cells, said = _walk(task, scores, batch)
    shares = torch.where(passages, moves, -torch.inf)[0].flatten(0, 1)[open_cells].softmax(-1)
    to = best(moves, passages)[0].flatten()
    at_goal = torch.arange(len(to)) == batch["goal"][0]
    arrows = torch.where(open_cells & ~at_goal, to, -1)
    nearer = batch["optimal"][0].flatten(0, 1)
    wrong = [cell for cell in dict.fromkeys(cells) if arrows[cell] >= 0 and not nearer[cell, arrows[cell]]]
    return {
        "arrows": arrows.tolist(),
        "walk": cells,
        "wrong": wrong,
        "said": said,
        "confidence": float(shares.max(-1).values.mean()),
    }


def _walk(task: MazeTask, scores: Tensor, batch: Batch) -> tuple[list[int], str]:
    """The cells of the walk that a prediction is scored by, and that in words."""
    way = walk(batch, task.moves(scores))
    cells = [cell for cell in way.cells[0].tolist() if cell != NOWHERE]
    moved = counted(len(cells) - 1, "move")
    if not bool(way.reached[0]):
        return cells, f"a walk of {moved} that does not come to the goal"
    if len(cells) - 1 == int(batch["length"][0]):
        return cells, f"the walk is the shortest way, {moved}"
    more = "" if bool(is_simple_walk(way)[0]) else ", some of them back"
    return cells, f"a walk to the goal of {moved}{more}; {int(batch['length'][0])} suffice"
