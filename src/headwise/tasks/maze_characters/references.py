"""What answers in characters are worth that need no training.

- `copy`: the question as it is, without any path.
- `random`, `toward_goal`: the question with the cells marked that such a walker enters (`maze.walkers`).
- `breadth_first`: with a shortest path, which in a maze with loops need not be the one that counts as exact.
- `floor`: the best of the first three on these mazes, metric by metric; `ceiling`: 1, the answer itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.maze import walkers
from headwise.tasks.maze.lattice import NOWHERE, Mazes
from headwise.tasks.maze_characters.characters import marked, question
from headwise.tasks.maze_characters.metrics import METRICS, of_answer

UNTRAINED = ("copy", "random", "toward_goal")


def by_metric(mazes: Mazes, batch: Batch, seed: int) -> dict[str, dict[str, Tensor]]:
    """Every reference in every metric, {metric: {reference: float [B]}}.

    Args:
        mazes: B of them.
        batch: the same as tensors.
        seed: of the walkers that draw.
    """
    written = {"copy": question(batch)}
    for name, walk in walkers.references(mazes, seed).items():
        written[name] = marked(batch, _entered(walk.cells, batch))
    measured = {name: of_answer(characters, batch) for name, characters in written.items()}
    found = {metric: {name: values[metric] for name, values in measured.items()} for metric in METRICS}
    for own in found.values():
        own["floor"] = max((own[name] for name in UNTRAINED), key=torch.mean)
        own["ceiling"] = torch.ones(len(mazes))
    return found


def _entered(cells: Tensor, batch: Batch) -> Tensor:
    """The cells of walks int64 [B, T], bool [B, N, N]."""
    entered = torch.zeros_like(batch["on_path"]).flatten(1)
    maze, step = (cells != NOWHERE).nonzero(as_tuple=True)
    entered[maze, cells[maze, step]] = True
    return entered.view_as(batch["on_path"])
