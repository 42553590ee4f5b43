"""Sorting under partial observability: put n integers in order although some are masked."""

from headwise.tasks.base import TaskEntry
from headwise.tasks.sorting.arrays import SortingConfig
from headwise.tasks.sorting.data import SortingData
from headwise.tasks.sorting.model import SortingTask

ENTRY = TaskEntry(
    name="sorting",
    summary="put n integers in order although some are masked; known floor and ceiling; hints for the harder form",
    config=SortingConfig,
    task=SortingTask,
    data=SortingData,
    example={"length": 5, "train_examples": 64, "validation_examples": 8, "test_examples": 8},
)

__all__ = ["ENTRY", "SortingConfig", "SortingData", "SortingTask"]
