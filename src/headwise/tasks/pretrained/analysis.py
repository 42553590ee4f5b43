"""What a tuned model does on the other text, beside the one that it was tuned on."""

from __future__ import annotations

from typing import Any

import torch

from headwise.tasks.base import TaskModel
from headwise.tasks.pretrained.data import Blocks, PretrainedData


def analyse(model: TaskModel, data: PretrainedData, source: Blocks, batch_size: int) -> dict[str, Any]:
    """Loss on the other text, and what is added there to the untouched model's; nothing without another text.

    Args:
        model: in evaluation mode.
        data: names the other text.
        source: the test split; not read, its metrics are known.
        batch_size: blocks at once.
    """
    other = data.other()
    if other is None:
        return {}
    loss, added, accuracy = means(model, other, batch_size)
    number, name = len(other), str(data.config.other)
    return {
        "metrics": {"other_loss": loss, "other_added": added, "other_accuracy": accuracy},
        "tables": [
            {
                "title": "Another text",
                "caption": "Nats per token on a text that was not tuned on, and those added to the untouched model's.",
                "columns": ["text", "blocks", "loss", "added", "accuracy"],
                "rows": [[name, number, loss, added, accuracy]],
            }
        ],
    }


@torch.no_grad()
def means(model: TaskModel, source: Blocks, batch_size: int) -> tuple[float, float, float]:
    """Mean loss, added loss and accuracy over the blocks of a source."""
    device, sums = next(model.parameters()).device, torch.zeros(3, dtype=torch.float64)
    for index in source.plan(batch_size, seed=0, epoch=0, shuffle=False):
        batch = {name: tensor.to(device) for name, tensor in source.batch(index).items()}
        found = model.task.metrics(model.task.read_out(model(batch).states[-1], batch), batch)
        sums += torch.stack([found[key].double().sum().cpu() for key in ("loss", "added", "accuracy")])
    loss, added, accuracy = (sums / len(source)).tolist()
    return loss, added, accuracy
