"""Random relations between nodes, and walks along them.

Legend: B examples, N nodes, K relations, T the most hops.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.walk.config import WalkConfig


def generate(config: WalkConfig, count: int, seed: list[int], most: np.ndarray | int, least: int = 1) -> Batch:
    """`count` examples, a function of the arguments alone.

    Args:
        config: of the task.
        count: B.
        seed: of everything random.
        most: hops of the longest instruction, for all or for each example.
        least: hops of the shortest one.

    Returns:
        edges        bool [B, K, N, N], True where relation k leads from node i (first) to node j
        start        int64 [B]
        instruction  int64 [B, T], relations in the order in which they are followed, K behind the last
        hops         int64 [B]
        reached      bool [B, T + 1, N], the nodes where one can be after 0, 1, ... T hops, or when the walk has ended
    """
    B, N, K, T = count, config.nodes, config.relations, config.hops
    rng, row = np.random.default_rng(seed), np.arange(count)
    successor = rng.random((B, K, N)).argsort(2)
    hops = rng.integers(least, np.broadcast_to(most, (B,)) + 1)
    instruction = np.where(np.arange(T) < hops[:, None], rng.integers(K, size=(B, T)), K)
    start = rng.integers(N, size=B)
    edges = np.zeros((B, K, N, N), dtype=bool)
    np.put_along_axis(edges, successor[..., None], True, 3)
    if config.successors < 1:
        edges &= rng.random((B, K, N, 1)) < config.successors
        here = start
        for t in range(T):  # the way of the walk stays
            on = instruction[:, t] < K
            relation = np.where(on, instruction[:, t], 0)
            there = successor[row, relation, here]
            edges[row[on], relation[on], here[on], there[on]] = True
            here = np.where(on, there, here)
    elif config.many:
        edges |= rng.random((B, K, N, N)) < (config.successors - 1) / (N - 1)  # the one that is there counts as drawn
    reached = np.zeros((B, T + 1, N), dtype=bool)
    reached[row, 0, start] = True
    stay = np.broadcast_to(np.eye(N, dtype=bool), (B, 1, N, N))
    with_stay = np.concatenate([edges, stay], axis=1)  # an instruction that has ended leads from each node to itself
    for t in range(T):
        step = with_stay[row, instruction[:, t]]  # [B, N, N]
        reached[:, t + 1] = (reached[:, t, :, None] & step).any(1)
    arrays = {"edges": edges, "start": start, "instruction": instruction, "hops": hops, "reached": reached}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def paused(batch: Batch, relations: int, seed: list[int]) -> Batch:
    """The same walks with pauses: an instruction's relations keep their order and stand at random ones of the T places,
    `relations` (none) at the others; `reached` follows."""
    instruction, hops = batch["instruction"].numpy(), batch["hops"].numpy()
    B, T = instruction.shape
    moves = np.random.default_rng(seed).random((B, T)).argsort(1) < hops[:, None]  # as many as hops
    made = moves.cumsum(1)  # [B, T], moves up to this place, it included
    row = np.arange(B)[:, None]
    told = np.where(moves, instruction[row, np.maximum(made - 1, 0)], relations)
    reached = batch["reached"].numpy()[row, np.concatenate([np.zeros((B, 1), dtype=made.dtype), made], 1)]
    return batch | {"instruction": torch.from_numpy(told), "reached": torch.from_numpy(reached)}


def edges_of(batch: Batch, relations: int) -> Tensor:
    """Bool [B|1, K, N, N] as in `generate`: drawn for each example, or of the triples [B, M, 3] that all share."""
    if "edges" in batch:
        return batch["edges"]
    N, (head, relation, tail) = batch["reached"].shape[2], batch["triples"][0].long().T
    edges = torch.zeros(1, relations, N, N, dtype=torch.bool, device=head.device)
    edges[0, relation, head, tail] = True
    return edges
