"""What is refused of a shape: settings of the block that would have no effect, and a layout that a task does not have.

As in `headwise.models.refusals`, which asks here, each refusal is one line: key with value, reason, remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from headwise.routing.layout import heads_along
from headwise.routing.rotary import BASE

if TYPE_CHECKING:
    from headwise.models.refusals import TaskFacts
    from headwise.models.sizes import ModelConfig


def of_shape(model: ModelConfig, task: TaskFacts) -> Iterator[str]:
    """Every reason to refuse the shape for the task."""
    yield from _of_block(model)
    yield from _of_layout(model, task)


def _of_block(model: ModelConfig) -> Iterator[str]:
    if model.activation != "gelu" and not model.ffn:
        yield (
            f"model.activation={model.activation}: there is no feed-forward layer (model.ffn=0) to have one; use gelu, "
            "the default, or model.ffn=1 or more"
        )
    if model.rotary_base != BASE and not model.rotary:
        yield f"model.rotary_base={model.rotary_base:g}: has an effect only with model.rotary=true; use {BASE:g}"


def _of_layout(model: ModelConfig, task: TaskFacts) -> Iterator[str]:
    near, radius = model.n_structural, model.relative
    key = f"model.structural_heads={near}" if near else f"model.relative={radius}"
    if task.causal and (near or radius):
        yield f"{key}: a causal model reads its past through a cache that knows no layout; use 0"
    if near and not task.relations:
        yield f"{key}: the task names no relations between tokens; use 0, or a task that does"
    elif near:
        try:
            heads_along(model.structural_heads, task.relations)
        except ValueError as error:
            yield f"model.{error}"
    if radius and not task.has_positions:
        yield (f"model.relative={radius}: the task's tokens have no rows and columns; use 0, or a task on a grid")
