"""A pretrained language model with routers in its attention layers: tuned on text, or scored as it is."""

from headwise.tasks.base import TaskEntry
from headwise.tasks.pretrained.config import PretrainedConfig
from headwise.tasks.pretrained.data import PretrainedData
from headwise.tasks.pretrained.model import PretrainedTask

ENTRY = TaskEntry(
    name="pretrained",
    summary="tune routers, adapters or all of a pretrained language model, which chooses heads per token",
    config=PretrainedConfig,
    task=PretrainedTask,
    data=PretrainedData,
    analysis="headwise.tasks.pretrained.analysis.analyse",
    example={
        "model": "tiny",
        "data": "synthetic",
        "context": 32,
        "train_blocks": 32,
        "validation_blocks": 2,
        "test_blocks": 5,
        "train": "all",
    },
    needs=("transformers",),
)

__all__ = ["ENTRY", "PretrainedConfig", "PretrainedData", "PretrainedTask"]
