"""What walkers reach that need no training, on given mazes.

- `random`: every move as good as any other, cells not visited before first.
- `toward_goal`: the move that shortens the way as the crow flies.
- `breadth_first`: breadth-first search, which finds a shortest path always.
- `floor`: the better of the first two on these mazes; `ceiling`: the last.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.tasks.maze import walkers
from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.lattice import Mazes
from headwise.tasks.maze.metrics import of_walk

METRICS = ("optimal", "reached")


def by_metric(mazes: Mazes, seed: int) -> dict[str, dict[str, Tensor]]:
    """Every reference in every metric that is a share of the mazes, {metric: {reference: float [B]}}.

    Args:
        mazes: B of them.
        seed: of the walkers that draw.
    """
    batch = tensors(mazes)
    walked = {name: of_walk(walk, batch) for name, walk in walkers.references(mazes, seed).items()}
    found = {metric: {name: values[metric] for name, values in walked.items()} for metric in METRICS}
    for own in found.values():
        own["floor"] = max((own["random"], own["toward_goal"]), key=torch.mean)
        own["ceiling"] = own["breadth_first"]
    return found
