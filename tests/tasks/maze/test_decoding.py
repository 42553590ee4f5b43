"""Walks that ask the model again: no more passes than needed, and the same way wherever committing is safe."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.schema import build
from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.maze import MazeConfig, MazeTask
from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.decoding import walk_asking
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.metrics import of_walk
from headwise.tasks.maze.walkers import walk
from headwise.training.objective import objective

BATCH = tensors(generate(GeneratorConfig(size=6, min_path_length=10), 40, seed=0))
NEXT = build(MazeConfig, {"size": 6, "read_out": "next_cell"}, "task")


class Oracle:
    """Stands in for a model: its hidden state is the scores, right and sure within `sight` moves of the start."""

    def __init__(self, sight: int) -> None:
        self.sight, self.asked = sight, []
        self.task = MazeTask(NEXT, {}, 8)
        self.task.scores = Passing()

    def __call__(self, batch: Batch) -> Any:
        self.asked.append(len(batch["start"]))
        scores = torch.where(batch["optimal"], 9.0, 0.0)
        place = (batch["path"] == batch["start"][:, None]).int().argmax(1)  # the walks of these tests keep to the path
        ahead = torch.full((len(place), 36), 99)
        for i, path in enumerate(batch["path"]):
            cells = path[path >= 0]
            ahead[i, cells] = torch.arange(len(cells)) - place[i]
        near = (ahead >= 0) & (ahead < self.sight)
        return SimpleNamespace(states=(scores.flatten(1, 2) * near[..., None])[None])


class Passing(torch.nn.Module):
    """A read-out that hands its input on."""

    def forward(self, hidden: Tensor, side: int) -> Tensor:
        return hidden.unflatten(1, (side, side))

    def moves(self, scores: Tensor) -> Tensor:
        return scores


@pytest.mark.parametrize("sight", [1, 3, 99])
def test_a_model_that_sees_so_far_is_asked_every_so_many_moves(sight: int) -> None:
    oracle = Oracle(sight)
    decoded = walk_asking(oracle, BATCH, sure=0.9)
    assert of_walk(decoded.walk, BATCH)["optimal"].eq(1).all()
    # Where a single passage is open the move is sure, seen or not, so there can be fewer passes, never more.
    assert (decoded.passes <= -(-BATCH["length"] // sight)).all()
    assert oracle.asked[0] == 40
    assert sum(oracle.asked) == decoded.passes.sum()
    assert (decoded.passes == 1).all() == (sight == 99)


def choices(batch: Batch) -> Tensor:
    """On how many cells of the shortest path, goal and start apart, more than one way leads on; a perfect maze."""
    ways = batch["open"].sum(-1).flatten(1)
    ends = torch.stack([batch["start"], batch["goal"]], 1)
    return (batch["on_path"].flatten(1).scatter(1, ends, False) & (ways > 2)).sum(1)


def test_asking_at_every_choice_takes_a_pass_for_the_start_and_one_for_each_choice() -> None:
    oracle = Oracle(1)
    decoded = walk_asking(oracle, BATCH)
    assert torch.equal(decoded.passes, 1 + choices(BATCH))
    assert len(oracle.asked) <= BATCH["length"].max()
    assert torch.equal(decoded.walk.cells, walk_asking(Oracle(3), BATCH, sure=0.9).walk.cells)


def trained(updates: int = 60) -> TaskModel:
    torch.manual_seed(0)
    shape = ModelConfig(width=32, heads=4, ffn=64, structural_heads=2)
    model = TaskModel(MazeTask(NEXT, {"size": 6}, 32), Backbone(shape, Arm()))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(updates):
        optimizer.zero_grad()
        objective(model, BATCH, {}).loss.backward()
        optimizer.step()
    return model.eval()


def test_asking_once_is_the_walk_of_one_pass_and_asking_always_equals_a_walk_written_out() -> None:
    model = trained()
    with torch.no_grad():
        moves = model.task.moves(model.task.read_out(model(BATCH).states[-1], BATCH))
    once = walk_asking(model, BATCH, sure=1e-9)
    assert torch.equal(once.walk.cells, walk(BATCH, moves).cells)
    assert once.passes.eq(1).all()

    def ask(maze: Tensor, cell: Tensor, _: Tensor) -> Tensor:  # at every cell, whether there is a choice or not
        batch = {name: array[maze] for name, array in BATCH.items()} | {"start": cell}
        with torch.no_grad():
            moves = model.task.moves(model.task.read_out(model(batch).states[-1], batch))
        return moves.flatten(1, 2)[torch.arange(len(cell)), cell]

    every = walk_asking(model, BATCH)
    assert torch.equal(every.walk.cells, walk(BATCH, ask).cells)
    left = [row[(row >= 0) & (row != goal)] for row, goal in zip(every.walk.cells, BATCH["goal"], strict=True)]
    once_from_a_cell = torch.tensor([len(cells.unique()) for cells in left])
    assert (every.passes <= once_from_a_cell).all()
    assert (once_from_a_cell < torch.tensor([len(cells) for cells in left])).any()  # some walk came back
    some = walk_asking(model, BATCH, sure=0.9)
    assert once.passes.sum() < some.passes.sum() < every.passes.sum()
    known = of_walk(every.walk, BATCH)["optimal"].bool() & of_walk(some.walk, BATCH)["optimal"].bool()
    assert known.sum() > 5
    length = min(some.walk.cells.shape[1], every.walk.cells.shape[1])
    assert torch.equal(some.walk.cells[known, :length], every.walk.cells[known, :length])
