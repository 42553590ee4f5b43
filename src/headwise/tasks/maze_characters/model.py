"""Mazes in characters: the two ends of the model. Characters become tokens; hidden states become characters.

With relative positions, or none, no parameter depends on the size: the same weights answer larger mazes.
Legend: B batch, N side, L = N * N characters, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from headwise.models.sizes import ModelConfig
from headwise.routing.layout import Layout
from headwise.tasks.base import Batch, Shift, Task
from headwise.tasks.losses import cross_entropy
from headwise.tasks.maze.model import layout
from headwise.tasks.maze.tokens import Cells
from headwise.tasks.maze_characters.characters import ASKED, CHARACTERS, answer, question
from headwise.tasks.maze_characters.config import MazeCharactersConfig
from headwise.tasks.maze_characters.metrics import agrees, of_answer
from headwise.tasks.scenes import Example, Scene


class Written(nn.Module):
    """Scores of the characters to write. The backbone's last norm has a bias, so there is none here."""

    role = "readout"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, len(CHARACTERS), bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states [B, L, D] to logits [B, L, 5]."""
        logits: Tensor = self.score(hidden)
        return logits


class MazeCharactersTask(Task):
    """Answer a maze with the same characters, the path marked. A prediction is the logits of each, [B, L, 5]."""

    name: ClassVar[str] = "maze_characters"
    metric: ClassVar[str] = "exact"
    exact: ClassVar[str | None] = "exact"
    training_size: ClassVar[str | None] = "train_mazes"
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    has_positions: ClassVar[bool] = True

    config: MazeCharactersConfig

    def __init__(self, config: MazeCharactersConfig, facts: dict[str, Any], width: int) -> None:
        super().__init__(config, facts, width)
        self.characters = Cells(width, facts.get("size"), bits=ASKED)
        self.written = Written(width)

    @classmethod
    def check(cls, config: MazeCharactersConfig, model: ModelConfig) -> None:
        """Positions of the task and the backbone's bias by position have to go together."""
        config.check_positions(model)

    @classmethod
    def shifts(cls, config: MazeCharactersConfig) -> dict[str, Shift]:
        """Larger mazes, whose range of lengths grows with the number of characters; and longer paths.

        Sides stay odd or even, as framed as those trained on. Paths of the published 0.4 moves for each cell of the
        lattice (in characters 0.8), half as long and half as long again, are those of depth-first mazes.
        """
        generated = {"file": None, "test_file": None}

        def larger(size: int) -> Mapping[str, Any]:
            growth = (size / config.size) ** 2
            least, most = config.min_path_length, config.max_path_length
            return generated | {
                "size": size,
                "min_path_length": max(1, round(least * growth)),
                "max_path_length": None if most is None else round(most * growth),
            }

        def longer(least: int) -> Mapping[str, Any]:
            return generated | {"min_path_length": least, "max_path_length": None}

        sizes = tuple(config.size + 2 * round(config.size * more / 2) for more in (1 / 3, 2 / 3, 1))
        lengths = tuple(round(0.8 * times * config.generator.cells**2) for times in (0.5, 1, 1.5))
        return {
            "size": Shift("characters on a side", config.size, larger, sizes),
            "length": Shift("moves of the path, at least", config.min_path_length, longer, lengths),
        }

    @classmethod
    def relations(cls, config: MazeCharactersConfig) -> tuple[str, ...]:
        """One: from an open character to the open ones beside, above and below it, or to itself."""
        return ("neighbour",)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[B, L, D], characters in the order of rows; there is no padding."""
        asked = F.one_hot(question(batch), ASKED).to(self.characters.project.weight.dtype)
        tokens: Tensor = self.characters(asked)
        return tokens, None

    def layout(self, batch: Batch) -> Layout:
        """An open character sees itself and its open neighbours, a wall itself; positions are row and column."""
        return layout(batch, "neighbour", self.config.positions != "none")

    def read_out(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Logits of `CHARACTERS`, [B, L, 5]."""
        logits: Tensor = self.written(hidden)
        return logits

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy in nats summed over all characters, [B]."""
        return cross_entropy(prediction, answer(batch), self.config.loss).sum(1)

    def terms(self, batch: Batch) -> Tensor:
        """All characters, [B]."""
        cells = batch["on_path"].flatten(1)
        return batch["start"].new_full((len(cells),), cells.shape[1])

    def metrics(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """exact (primary), optimal, valid, characters_right of the likeliest characters."""
        return of_answer(prediction.argmax(-1), batch)

    def answer(self, prediction: Tensor, batch: Batch) -> Tensor:
        """The likeliest characters, [B, L]."""
        return prediction.argmax(-1)

    def valid(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Whether they are the question with one way from start to goal in it; it need not be a shortest one."""
        return agrees(prediction.argmax(-1), batch)

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        """See `maze_characters.scene`."""
        from headwise.tasks.maze_characters.scene import scene

        return scene(example, predictions)
