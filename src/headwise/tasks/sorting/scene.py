"""An array as it is drawn: a bar for each element, which moves to the rank that it is given. Legend: n elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from headwise.tasks.base import Batch
from headwise.tasks.scenes import Example, Scene, percent
from headwise.tasks.sorting.hints import real_hints, smaller_larger

if TYPE_CHECKING:
    from headwise.tasks.sorting.model import SortingTask


def scene(task: SortingTask, example: Example, predictions: Sequence[Any]) -> Scene:
    """The array in the order of each answer, with the comparisons that are given."""
    batch = example.batch
    values, visible = batch["values"][0].tolist(), batch["visible"][0].tolist()
    names = [f"{value}" if seen else f"masked ({value})" for value, seen in zip(values, visible, strict=True)]
    tokens, question = list(names), {"values": values, "visible": visible, "ranks": batch["ranks"][0].tolist()}
    if "hints" in batch:
        pairs = torch.stack(smaller_larger(batch), -1)[0].tolist()
        real = real_hints(batch)[0].tolist()
        tokens += [
            f"hint: {names[low]} below {names[high]}" if is_real else ""
            for (low, high), is_real in zip(pairs, real, strict=True)
        ]
        question["hints"] = [pair for pair, is_real in zip(pairs, real, strict=True) if is_real]
    return Scene("bars", question, [_answer(task, scores, batch) for scores in predictions], tokens)


def _answer(task: SortingTask, scores: Tensor, batch: Batch) -> dict[str, Any]:
    ranks = task.answer(scores, batch)[0]
    over = 1 if task.config.read_out == "pointer" else 2  # what a softmax is over: elements of a slot, or slots
    sure = scores.float().softmax(over)[0].gather(1, ranks[:, None])[:, 0]  # [n]
    placed = int((ranks == batch["ranks"][0]).sum())
    return {
        "ranks": ranks.tolist(),
        "sure": percent(sure),
        "said": f"{placed} of {len(ranks)} in their place",
        "confidence": float(sure.mean()),
    }
