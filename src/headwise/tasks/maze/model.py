"""Mazes: the two ends of the model. Cells become tokens; hidden states become marks or moves.

With relative positions, or none, no parameter depends on the size: the same weights solve larger mazes.
Legend: B batch, N side, L = N * N cells, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from headwise.models.sizes import ModelConfig
from headwise.routing.layout import Layout
from headwise.tasks.base import Batch, Shift, Task
from headwise.tasks.maze.config import MazeConfig
from headwise.tasks.maze.families import FAMILIES
from headwise.tasks.maze.lattice import strides
from headwise.tasks.maze.read_outs import Grid, MarkedCells, Moves
from headwise.tasks.maze.tokens import Cells, Convolution, ConvolutionalEncoder, bits
from headwise.tasks.scenes import Example, Scene


class MazeTask(Task):
    """Find the shortest way. A prediction is what the read-out gives: scores of cells, or of moves."""

    name: ClassVar[str] = "maze"
    metric: ClassVar[str] = "optimal"
    exact: ClassVar[str | None] = "optimal"
    training_size: ClassVar[str | None] = "train_mazes"
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    lower_is_better: ClassVar[frozenset[str]] = frozenset(
        ("excess_length", "excess_length_each_step", "passes_each_step", "seconds_each_step")
    )
    has_positions: ClassVar[bool] = True

    config: MazeConfig

    def __init__(self, config: MazeConfig, facts: dict[str, Any], width: int) -> None:
        super().__init__(config, facts, width)
        self.cells = Cells(width, facts.get("size"))
        encoder = config.encoder
        self.encoder = ConvolutionalEncoder(encoder, width) if isinstance(encoder, Convolution) else None
        read_out = config.read_out
        self.scores: MarkedCells | Moves
        self.scores = MarkedCells(read_out, width) if isinstance(read_out, Grid) else Moves(read_out, width)

    @classmethod
    def check(cls, config: MazeConfig, model: ModelConfig) -> None:
        """Positions of the task and the backbone's bias by position have to go together."""
        config.check_positions(model)

    @classmethod
    def shifts(cls, config: MazeConfig) -> dict[str, Shift]:
        """Larger mazes, whose shortest paths grow with the number of cells, and mazes of another family.

        With another family paths may be of any length: in the other two such long ones as depth first search makes
        practically never occur.
        """
        generated = {"file": None, "test_file": None}

        def larger(size: int) -> dict[str, Any]:
            return generated | {
                "size": size,
                "min_path_length": round(config.min_path_length * (size / config.size) ** 2),
            }

        def other(family: str) -> dict[str, Any]:
            return generated | {"family": family, "min_path_length": 1, "loops": None}

        sizes = tuple(round(config.size * times) for times in (4 / 3, 5 / 3, 2))
        trained = config.family if config.file is None else config.file
        return {
            "size": Shift("cells on a side", config.size, larger, sizes),
            "family": Shift("how mazes are made", trained, other, FAMILIES),
        }

    @classmethod
    def relations(cls, config: MazeConfig) -> tuple[str, ...]:
        """One: from a cell through its open passages, or to itself."""
        return ("passage",)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[B, L, D], cells in the order of rows; there is no padding."""
        seen = bits(batch, self.cells.project.weight.dtype)
        tokens: Tensor = self.cells(seen)
        if self.encoder is not None:
            tokens = tokens + self.encoder(seen, _side(batch))
        return tokens, None

    def layout(self, batch: Batch) -> Layout:
        """A cell sees itself and the cells behind its open passages; positions are row and column."""
        return layout(batch, "passage", self.config.positions != "none")

    def read_out(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Scores of cells [B, N, N] (`grid`), or of moves [B, N, N, K, 4] (`next_cell`, K horizons)."""
        scores: Tensor = self.scores(hidden, _side(batch))
        return scores

    def moves(self, prediction: Tensor) -> Tensor:
        """Scores of the four moves from every cell, [B, N, N, 4], as `walkers.walk` takes them."""
        return self.scores.moves(prediction)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy in nats summed over cells (and horizons), [B]."""
        return self.scores.loss(prediction, batch)

    def terms(self, batch: Batch) -> Tensor:
        """Cells (times horizons) that are asked about, [B]."""
        return self.scores.terms(batch)

    def metrics(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """What both read-outs measure in one forward pass: optimal (primary), reached, excess_length, path_accuracy.

        Marks are also scored as they are: exact_grid, cell_accuracy.
        """
        return self.scores.metrics(prediction, batch)

    def answer(self, prediction: Tensor, batch: Batch) -> Tensor:
        """The marks of the cells, or the cells of the walk."""
        return self.scores.answer(prediction, batch)

    def valid(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Whether marks, or walk, are one way from start to goal; it need not be a shortest one."""
        return self.scores.valid(prediction, batch)

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        """See `maze.scene`."""
        from headwise.tasks.maze.scene import scene

        return scene(self, example, predictions)


def layout(batch: Batch, relation: str, placed: bool) -> Layout:
    """The relation of that name joins a cell to itself and those behind its open passages; placed: by row, column."""
    near = neighbours(batch)
    seen = {relation: near | torch.eye(near.shape[-1], dtype=torch.bool, device=near.device)}
    if not placed:
        return Layout(relations=seen)
    line = torch.arange(_side(batch), device=near.device)
    return Layout(relations=seen, positions=torch.cartesian_prod(line, line))


def neighbours(batch: Batch) -> Tensor:
    """The cells behind the open passages of each cell, bool [B, L, L]; `lattice.neighbours` for a batch."""
    passages = batch["open"].flatten(1, 2)  # [B, L, 4]
    B, L = passages.shape[:2]
    near = torch.zeros(B, L, L, dtype=torch.bool, device=passages.device)
    cells = torch.arange(L, device=passages.device)
    for direction, stride in enumerate(strides(_side(batch)).tolist()):
        there = (cells + stride).clamp(0, L - 1)  # over the border no passage is open
        near[:, cells, there] |= passages[..., direction]
    return near


def _side(batch: Batch) -> int:
    side: int = batch["open"].shape[1]  # as it is: a graph of any size is traced with a symbol for it
    return side
