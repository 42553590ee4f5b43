"""A task of someone else's that brings commands along, for tests: `headwise shuffle` and `headwise recite`."""

from headwise.tasks.base import TaskEntry
from headwise.tasks.sorting import SortingConfig, SortingData, SortingTask

ENTRY = TaskEntry(
    name="recital",
    summary="what a program plays",
    config=SortingConfig,
    task=SortingTask,
    data=SortingData,
    commands={"shuffle": "tests.recital_shuffle", "recite": "tests.recital_recite"},
)
