"""A text as a pretrained model reads it, and one that is typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from headwise.errors import InputError
from headwise.tasks.language.scene import text_scene
from headwise.tasks.pretrained.language_model import opened
from headwise.tasks.scenes import Example, Scene

if TYPE_CHECKING:
    from headwise.tasks.pretrained.model import PretrainedTask


def scene(task: PretrainedTask, example: Example, predictions: Sequence[Any]) -> Scene:
    """The tokens with the likeliest next one of each."""
    _, tokenizer = opened(task.config.model)
    tokens = example.batch["tokens"][0]
    return text_scene(tokens, tokens[1:], lambda token: tokenizer.decode([token]), predictions, not example.solved)


def typed(task: PretrainedTask, text: str) -> Example:
    """The tokens of a text.

    Raises:
        InputError: fewer than two, or more than the blocks that the task reads.
    """
    _, tokenizer = opened(task.config.model)
    ids = tokenizer(text)["input_ids"]
    if not 2 <= len(ids) <= task.config.context:
        raise InputError(
            f"the text has {len(ids)} tokens; choose 2..{task.config.context} (task.context), what the run was tuned on"
        )
    return Example({"tokens": torch.tensor([ids])}, solved=False)
