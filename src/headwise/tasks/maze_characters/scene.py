"""A maze in characters as it is drawn: walls filled, the path as written, other mistakes as the character written.

Legend: N side, L = N * N characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.maze.scene import grid, verdicts
from headwise.tasks.maze_characters.characters import CHARACTERS, OPEN, PATH, marks, question
from headwise.tasks.scenes import Example, Scene, cells_of, choices, counted, percent, places


def scene(example: Example, predictions: Sequence[Any]) -> Scene:
    """The grid with the path that is written, and with characters that are neither path nor as they were asked."""
    batch = example.batch
    asked = question(batch)[0]
    return Scene(
        "grid",
        grid(batch),
        [_answer(prediction, batch, asked) for prediction in predictions],
        cells_of(*batch["open"].shape[1:3]),
        places(batch["open"][0].any(-1)),
    )


def _answer(logits: Tensor, batch: Batch, asked: Tensor) -> dict[str, Any]:
    written, sure = choices(logits[0])
    found, said = verdicts(marks(written[None], batch)[0], batch)
    told = ((written == OPEN) | (written == PATH)) & (asked == OPEN)
    other = (written != asked) & ~told
    found["wrong"] = sorted({*found["wrong"], *places(other)})
    text = ["" if not wrong else CHARACTERS[character] for wrong, character in zip(other, written, strict=True)]
    said += f"; {counted(int(other.sum()), 'other character')} wrong" if other.any() else ""
    way = logits[0].float().softmax(-1)[:, PATH]
    return {
        "mark": percent(torch.where(asked == OPEN, way, 0)),
        "text": text,
        **found,
        "said": said,
        "confidence": float(sure.mean()),
    }
