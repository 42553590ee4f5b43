"""Data and model of a configuration, and the random numbers that they are drawn from."""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headwise.tasks.base import TaskData, TaskModel
from headwise.training.config import RunConfig


def data_of(config: RunConfig) -> TaskData:
    """The data of a run."""
    return config.entry.data(config.task, config.seed, Path(config.cache) if config.cache else None)


def build_model(config: RunConfig, facts: dict[str, Any], task_config: Any = None) -> TaskModel:
    """A model with weights drawn from torch's global generator, for data with such `facts`.

    Args:
        config: of the run.
        facts: `TaskData.facts`.
        task_config: settings of the task in place of the run's.
    """
    task = config.entry.task(task_config or config.task, facts, config.model.width)
    return TaskModel(task, task.stack(config.model, config.arm))


@contextlib.contextmanager
def reproducible(config: RunConfig) -> Iterator[None]:
    """Inside the block all global random numbers follow from the seed; afterwards they and torch's threads are as
    they were, so that a call leaves no mark on the program around it."""
    threads, numpy_state, python_state = torch.get_num_threads(), np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(config.seed)
        np.random.seed(config.seed % 2**32)
        random.seed(config.seed)
        if config.training.threads is not None:
            torch.set_num_threads(config.training.threads)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
            torch.set_num_threads(threads)
