"""The instructed walk: follow the relations that an instruction names, one after the other, and say where it ends."""

from headwise.tasks.base import TaskEntry
from headwise.tasks.walk.config import WalkConfig
from headwise.tasks.walk.data import WalkData
from headwise.tasks.walk.model import WalkTask

ENTRY = TaskEntry(
    name="walk",
    summary="follow instructed relations from node to node, where choosing a head is choosing a relation; ceiling 1",
    config=WalkConfig,
    task=WalkTask,
    data=WalkData,
    analysis="headwise.tasks.walk.analysis.analyse",
    example={"nodes": 5, "relations": 2, "hops": 2, "train_examples": 64, "validation_examples": 8, "test_examples": 8},
)

__all__ = ["ENTRY", "WalkConfig", "WalkData", "WalkTask"]
