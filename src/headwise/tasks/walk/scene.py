"""A walk as it is drawn: nodes on a circle, the instructed relations, and how likely each node is the end.

Legend: N nodes, K relations, T hops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.scenes import Example, Scene, counted, percent, places
from headwise.tasks.walk.graphs import edges_of

if TYPE_CHECKING:
    from headwise.tasks.walk.model import WalkTask

MOST_EDGES = 400
"""Edges that are drawn, those of the walk first."""


def scene(task: WalkTask, example: Example, predictions: Sequence[Any]) -> Scene:
    """The graph with the probability of each node after each answer."""
    batch, names = example.batch, task.config.names
    nodes = batch["reached"].shape[2]
    instruction = [relation for relation in batch["instruction"][0].tolist() if relation < len(names)]
    reached = [places(row) for row in batch["reached"][0]][: len(instruction) + 1]
    tokens = [f"node {node + 1}" for node in range(nodes)]
    if task.config.instruction == "tokens":
        given = batch["instruction"][0].tolist()
        tokens += [names[relation] if relation < len(names) else "end of the instruction" for relation in given]
    question = {
        "nodes": nodes,
        "relations": list(names),
        "edges": _edges(batch, len(names), instruction, reached),
        "start": int(batch["start"][0]),
        "instruction": instruction,
        "reached": reached,
        "goal": places(batch["reached"][0, -1]),
    }
    return Scene("graph", question, [_answer(task, scores, batch) for scores in predictions], tokens)


def _edges(batch: Batch, relations: int, instruction: list[int], reached: list[list[int]]) -> list[list[int]]:
    """Those of the walk, then those of the instructed relations, then others."""
    every = torch.nonzero(edges_of(batch, relations)[0]).tolist()
    walked = {(relation, node) for relation, nodes in zip(instruction, reached, strict=False) for node in nodes}
    every.sort(key=lambda edge: (tuple(edge[:2]) not in walked, edge[0] not in instruction))
    return every[:MOST_EDGES]


def _answer(task: WalkTask, scores: Tensor, batch: Batch) -> dict[str, Any]:
    mass = scores[0].float().sigmoid() if task.config.many else scores[0].float().softmax(-1)  # [N]
    chosen, goal = places(task.answer(scores, batch)[0] > 0), places(batch["reached"][0, -1])
    sure = torch.maximum(mass, 1 - mass).mean() if task.config.many else mass.max()
    if task.config.many:
        said = f"{counted(len(chosen), 'node')} named, {len({*chosen} & {*goal})} of {len(goal)} right"
    else:
        said = f"node {chosen[0] + 1}, " + ("where the walk ends" if chosen == goal else "not where the walk ends")
    return {"mass": percent(mass), "chosen": chosen, "said": said, "confidence": float(sure)}
