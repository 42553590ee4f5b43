"""What predictors that are not trained reach on given walks.

- `floor`: the best guess that does not look at the edges. All nodes are alike to it, so it is right with probability
  1 / C(N, m) where the answer has the m nodes that it guesses, m chosen best for these walks; 1 / N for single answers.
  On a graph of the user's, where entities stay who they are, the most frequent answer if that is better.
- `ceiling`: following the edges.

Legend: B examples, N nodes.
"""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.walk.graphs import edges_of
from headwise.tasks.walk.metrics import groups, measure


def follow(batch: Batch, relations: int) -> Tensor:
    """The nodes where each walk may end, bool [B, N], edge by edge from its start."""
    N, edges = batch["reached"].shape[2], edges_of(batch, relations)
    ends = torch.zeros_like(batch["reached"][:, 0])
    for row, (start, instruction) in enumerate(zip(batch["start"], batch["instruction"].tolist(), strict=True)):
        here, own = torch.arange(N) == start, edges[row % len(edges)]
        for relation in instruction:
            here = own[relation][here].any(0) if relation < relations else here
        ends[row] = here
    return ends


def guess(batch: Batch) -> Tensor:
    """Probability that the floor's guess is right, float [B]."""
    sizes, N = batch["reached"][:, -1].sum(1), batch["reached"].shape[2]
    chances = [torch.where(sizes == m, 1 / comb(N, m), 0.0) for m in range(1, N + 1)]
    if "triples" in batch:
        _, kind, counts = torch.unique(batch["reached"][:, -1], dim=0, return_inverse=True, return_counts=True)
        chances.append((kind == counts.argmax()).float())
    return max(chances, key=lambda chance: chance.double().mean().item())


def by_metric(batch: Batch, relations: int, most: int) -> dict[str, dict[str, Tensor]]:
    """`floor` and `ceiling` over all and by number of hops, up to `most`: {metric: {reference: float [B]}}."""
    found = {"floor": guess(batch), "ceiling": measure(follow(batch, relations), batch)["accuracy"]}
    by_hops = {
        metric: {name: torch.where(among, value, torch.nan) for name, value in found.items()}
        for metric, among in groups(batch, most).items()
    }
    return {"accuracy": found, **by_hops}
