"""What a run starts with, a function of its configuration alone: data, and the model with its first weights."""

import numpy as np
import torch

from headwise.tasks.base import TaskData, TaskModel
from headwise.training.building import build_model, data_of
from headwise.training.config import RunConfig
from headwise.training.memory import check_memory


def build(config: RunConfig) -> tuple[TaskData, TaskModel]:
    """Data and freshly initialised model of a run; both depend on the configuration alone."""
    data = data_of(config)
    return data, new_model(config, data)


def new_model(config: RunConfig, data: TaskData) -> TaskModel:
    """The model of a run as it begins; torch's global generator is left where training goes on from.

    Raises:
        InputError: it does not fit into the memory of this machine.
    """
    check_memory(config, data.facts)
    torch.manual_seed(config.seed)
    model = build_model(config, data.facts)
    model.task.warm_start()
    # A stream of its own for training: dropout must not depend on how many numbers the weights took.
    torch.manual_seed(np.random.SeedSequence([config.seed, 1]).generate_state(1).item())
    return model
