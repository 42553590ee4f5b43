"""Sudoku: the two ends of the model. Cells become tokens; hidden states become scores of digits.

Nothing but the embedding of digits and the read-out knows that there are N digits; with positions=none no parameter
knows where a cell is, and structural heads along rows, columns and boxes tell a cell what its peers are.
Legend: B batch, N side, L = N * N tokens in the order of rows, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.models.sizes import ModelConfig
from headwise.routing.layout import Layout
from headwise.tasks.base import Batch, Shift, Task
from headwise.tasks.losses import cross_entropy
from headwise.tasks.scenes import Example, Scene
from headwise.tasks.sudoku import metrics
from headwise.tasks.sudoku.board import board
from headwise.tasks.sudoku.config import SudokuConfig

UNITS = ("row", "column", "box")
POSITION_SCALE = 0.1
"""Standard deviation of the position embeddings at the start: below that of digits, above what is lost in it."""
MORE_CLUES = {4: (5, 6, 8), 6: (11, 13, 16), 9: (27, 32, 40), 16: (105, 120, 150)}
"""Clues of the puzzles on which runs are tried that were trained on others, by size."""
GRADES = ("singles", "1-2", "3-9", "10-1000000")


class Cells(nn.Module):
    """Digit or blank -> token, plus learned embeddings of row, column and box.

    Args:
        box: rows and columns of a box.
        placed: whether there are such embeddings.
        width: D.
    """

    role = "backbone"

    def __init__(self, box: tuple[int, int], placed: bool, width: int) -> None:
        super().__init__()
        N = box[0] * box[1]
        self.box = box
        self.digit = nn.Embedding(N + 1, width)
        places = [nn.Embedding(N, width) for _ in UNITS] if placed else []
        for embedding in places:
            nn.init.normal_(embedding.weight, std=POSITION_SCALE)
        self.place = nn.ModuleList(places)

    def forward(self, clues: Tensor) -> Tensor:
        """Clues [B, L] to tokens [B, L, D]."""
        tokens: Tensor = self.digit(clues)
        unit_of = torch.from_numpy(board(self.box).unit_of).to(clues.device)
        for embedding, unit in zip(self.place, unit_of, strict=len(self.place) > 0):
            tokens = tokens + embedding(unit)
        return tokens


class DigitScores(nn.Module):
    """Scores of the digits of every cell. The backbone's last norm has a bias, so there is none here."""

    role = "readout"

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, L, D] to [B, L, N]."""
        scores: Tensor = self.score(hidden)
        return scores


class SudokuTask(Task):
    """Fill in the blanks. A prediction is scores of the digits of every cell, [B, L, N]."""

    name: ClassVar[str] = "sudoku"
    metric: ClassVar[str] = "exact"
    exact: ClassVar[str | None] = "exact"
    training_size: ClassVar[str | None] = "train_puzzles"
    metric_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    has_positions: ClassVar[bool] = True

    config: SudokuConfig

    def __init__(self, config: SudokuConfig, facts: dict[str, Any], width: int) -> None:
        super().__init__(config, facts, width)
        self.cells = Cells(config.sides, config.positions == "absolute", width)
        self.scores = DigitScores(config.size, width)

    @classmethod
    def check(cls, config: SudokuConfig, model: ModelConfig) -> None:
        """Without positions only structural heads or rotary positions tell cells apart, and no bias by position can.

        Raises:
            InputError: they do not go together.
        """
        if config.positions != "none":
            return
        if model.relative:
            raise InputError(
                f"model.relative={model.relative}: task.positions=none says nothing of where cells lie; use "
                "task.positions=absolute, or model.relative=0"
            )
        if not model.n_structural and not model.rotary:
            raise InputError(
                "task.positions=none: no head sees rows, columns or boxes; choose model.structural_heads=6, say, "
                "model.rotary=true or task.positions=absolute"
            )

    @classmethod
    def shifts(cls, config: SudokuConfig) -> dict[str, Shift]:
        """Puzzles of another grade (`singles`, or the least and the most guesses), and with more clues of any grade.

        Up to 4 x 4 singles solve every puzzle, so there are no other grades.
        """
        generated = {"file": None, "test_file": None, "grade_by": "guesses"}

        def graded(grade: Any) -> dict[str, Any]:
            least, dash, most = str(grade).partition("-")
            if grade in ("singles", "any"):
                return generated | {"grade": grade}
            if not (dash and least.isdigit() and most.isdigit()):
                raise ValueError(f"{grade}: choose singles, any, or the least and the most guesses, as 1-10")
            return generated | {"grade": [int(least), int(most)]}

        def with_clues(clues: Any) -> dict[str, Any]:
            return generated | {"clues": clues, "grade": "any"}

        grade, file = config.grade, config.file
        trained = grade if isinstance(grade, str) else f"{grade[0]}-{grade[1]}"
        return {
            "grade": Shift("how hard", file or trained, graded, GRADES if config.size > 4 else ()),
            "clues": Shift("clues that are given", file or config.clues, with_clues, MORE_CLUES[config.size]),
        }

    @classmethod
    def relations(cls, config: SudokuConfig) -> tuple[str, ...]:
        """row, column, box: from a cell to the cells of that unit, itself among them."""
        return UNITS

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[B, L, D]; there is no padding."""
        return self.cells(batch["clues"]), None

    def layout(self, batch: Batch) -> Layout:
        """A cell sees those of its row, column and box; positions are row and column."""
        unit_of = torch.from_numpy(board(self.config.sides).unit_of).to(batch["clues"].device)  # [3, L]
        same = (unit_of[:, :, None] == unit_of[:, None, :])[:, None]  # [3, 1, L, L]
        positions = unit_of[:2].mT if self.config.positions == "absolute" else None
        return Layout(relations=dict(zip(UNITS, same, strict=True)), positions=positions)

    def read_out(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Scores of digits, [B, L, N]."""
        scores: Tensor = self.scores(hidden)
        return scores

    def answer(self, prediction: Tensor, batch: Batch) -> Tensor:
        """The digit of the highest score in every cell, 1..N, int64 [B, L]; where blanks alone are asked for, the
        clues as they are."""
        best, clues = prediction.argmax(-1) + 1, batch["clues"]
        return best if self.config.asked == "all" else torch.where(clues > 0, clues, best)

    def valid(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Whether every unit holds every digit once and no clue is changed, bool [B]."""
        return metrics.agrees(self.answer(prediction, batch), batch, self.config.sides)

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Nats summed over the cells that are asked for, [B]."""
        nats = cross_entropy(prediction, batch["solution"] - 1, self.config.loss)
        return torch.where(self._asked(batch), nats, 0).sum(1)

    def terms(self, batch: Batch) -> Tensor:
        """Cells that are asked for, [B]."""
        return self._asked(batch).sum(1)

    def metrics(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """As `metrics.measure`: exact (primary), blanks, valid."""
        return metrics.measure(self.answer(prediction, batch), batch, self.config.sides)

    def _asked(self, batch: Batch) -> Tensor:
        """bool [B, L]."""
        blank = batch["clues"] == 0
        return torch.ones_like(blank) if self.config.asked == "all" else blank

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        """See `sudoku.scene`."""
        from headwise.tasks.sudoku.scene import scene

        return scene(self, example, predictions)

    def from_text(self, text: str) -> Example:
        """See `sudoku.scene`."""
        from headwise.tasks.sudoku.scene import typed

        return typed(self, text)
