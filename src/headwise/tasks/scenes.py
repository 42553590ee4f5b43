"""How a task's examples and a model's answers are drawn: as plain data, of which pages and animations make pictures.

A scene is of one of a few kinds, each drawn by a function of that name in `lab/show/show.js` and in
`lab/show/frames.py`. What stands in `question` and in each of `answers`, by kind; what a task does not have is left
out, and a cell or token is named by its place among the model's tokens:

    grid    rows, columns; walls: for each cell the sum of 1 (up), 2 (right), 4 (down), 8 (left) where it is closed;
            solid: cells that are wall; start, goal; boxes: [rows, columns] of a box; given: text of each cell;
            path: the cells of the right way
            mark: 0 to 100 for each cell, how much it is taken for part of the way; walk: cells, one after the other;
            arrows: for each cell 0 to 3 (up, right, down, left) or -1; text: of each cell; sure: 0 to 100 for each
            cell; right, wrong, missing: cells
    bars    values, visible: whether the model sees each; ranks: the right ones, 0 the smallest; hints: [smaller,
            larger], pairs of elements
            ranks, sure: 0 to 100 for each element
    arcs    words; heads: 0 the root, else 1 for the first word; relations
            heads, relations, sure: 0 to 100 for each word
    graph   nodes: how many; relations: their names; edges: [relation, from, to]; start; instruction: relations in their
            order; reached: after each hop the nodes; goal: nodes where the walk ends
            mass: 0 to 100 for each node; chosen: nodes
    tokens  words; said: what words under them mean
            words, sure: 0 to 100 for each; wrong: places among the first `scored`

Legend: L tokens of the model, A answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwise.errors import InputError

if TYPE_CHECKING:
    from headwise.tasks.base import Batch

KINDS = ("grid", "bars", "arcs", "graph", "tokens")
COMMON = ("said", "confidence")
"""What every answer has, beside what its kind has: a sentence on it, and how sure the model is of it, 0 to 1."""


@dataclass(frozen=True)
class Example:
    """An example to look at.

    Attributes:
        batch: of one.
        names: what a person calls its tokens, where the batch does not say so; else none.
        solved: whether the batch holds what is right, so that answers can be scored.
    """

    batch: Batch
    names: Sequence[str] = ()
    solved: bool = True


@dataclass(frozen=True)
class Scene:
    """An example and A answers to it, as they are drawn; all of it plain JSON.

    Attributes:
        kind: one of `KINDS`.
        question: what stays the same.
        answers: A times what changes.
        tokens: the name of each of the L tokens, "row 2, column 5"; empty for one that is padding.
        asked: tokens that a person would look at first, where not all can be kept.
    """

    kind: str
    question: Mapping[str, Any]
    answers: Sequence[Mapping[str, Any]]
    tokens: Sequence[str]
    asked: Sequence[int] = ()


class Drawn:
    """What of a task is drawn; by default its tokens, with the answer to each below it."""

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        """The example with A predictions for it, each of a batch of one."""
        return token_scene(self, example, predictions)

    def from_text(self, text: str) -> Example:
        """An example that a person types, without what is right.

        Raises:
            InputError: the task takes none, or none such.
        """
        raise InputError(
            f"{text}: examples of task={getattr(self, 'name', '')} are not typed; choose one of the test set by its "
            "number, or choose=solved, say"
        )


def token_scene(task: Any, example: Example, predictions: Sequence[Any]) -> Scene:
    """A scene of kind `tokens` for any task: what its read-out prefers for each token, else its answer in a line."""
    length = task.embed(example.batch)[0].shape[1]
    names = list(example.names) or [str(place + 1) for place in range(length)]
    answers = []
    for prediction in predictions:
        per_token = isinstance(prediction, Tensor) and prediction.dim() == 3 and prediction.shape[1] == length
        if per_token and prediction.shape[2] > 1:
            best, sure = choices(prediction[0])
            words = [str(place) for place in best.tolist()]
            answers.append(
                {"words": words, "sure": percent(sure), "said": "", "confidence": float(sure.mean().nan_to_num())}
            )
        else:
            answers.append({"said": _answer(task, prediction, example.batch), "confidence": None})
    return Scene("tokens", {"words": names, "said": "the likeliest class of each token"}, answers, names)


def choices(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The class of the largest score and its probability, [L] each, of scores [L, C]."""
    probability, best = scores.float().softmax(-1).max(-1)
    return best, probability


def percent(shares: Tensor) -> list[int]:
    """Shares of 1 as whole numbers of 100; what is not a number as 0."""
    return [round(100 * share) for share in shares.double().nan_to_num(0, 1, 0).clamp(0, 1).flatten().tolist()]


def places(which: Tensor) -> list[int]:
    """Where a flattened bool tensor is true."""
    return torch.nonzero(which.flatten())[:, 0].tolist()


def cells_of(rows: int, columns: int) -> list[str]:
    """Names of the cells of a grid, in the order of rows."""
    return [f"row {row + 1}, column {column + 1}" for row in range(rows) for column in range(columns)]


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def _answer(task: Any, prediction: Any, batch: Batch) -> str:
    try:
        answer = task.answer(prediction, batch)[0].tolist()
    except NotImplementedError:
        return "this task does not say how its answers are drawn"
    return "answer: " + " ".join(str(number) for number in answer if number != -1)
