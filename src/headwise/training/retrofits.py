"""What a run of task=pretrained has made, as a model of transformers: with routers, adapters merged into weights."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headwise.errors import InputError
from headwise.files import user_path
from headwise.pretrained import saving
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.tasks.pretrained.config import PretrainedConfig
from headwise.tasks.pretrained.language_model import opened
from headwise.tasks.pretrained.model import PretrainedTask
from headwise.tasks.pretrained.stack import PretrainedStack
from headwise.training.evaluation import load, saved
from headwise.training.files import CONFIG
from headwise.training.loadable import find_run


def load_retrofitted(folder: str | Path) -> Retrofitted:
    """A model of transformers with routers: from the directory of a finished `headwise retrofit`, or another run of
    task=pretrained, or from a folder that `headwise.save_retrofitted` wrote; on the CPU, in evaluation mode.

    Of a run it is the model as it was published with what was tuned: its own weights, adapters merged into them, and
    the routers. It generates, trains and is saved like any other.

    Raises:
        InputError: a run of another task or one that is not finished; as `headwise.pretrained.saving.load_retrofitted`.
    """
    if not is_run(folder):
        return saving.load_retrofitted(folder)
    trained = load(folder)
    if not isinstance(trained.task, PretrainedTask):
        raise InputError(f"{folder}: a run of task={trained.task.name}; only one of pretrained has a model in it")
    stack = trained.backbone
    assert isinstance(stack, PretrainedStack)
    states = [router.state_dict() for router in stack.retrofitted.routers]
    stack.retrofitted.remove()
    tuned, model = _merged(trained.task.language_model), copy.deepcopy(opened(trained.task.config.model)[0])
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            model.get_parameter(name).copy_(parameter)
    retrofitted = retrofit(model.eval(), stack.arm)
    for router, state in zip(retrofitted.routers, states, strict=True):
        router.load_state_dict(state)
    return retrofitted


def load_tokenizer(folder: str | Path) -> Any:
    """The tokenizer of what `load_retrofitted` reads.

    Raises:
        InputError: there is none.
    """
    if not is_run(folder):
        return saving.load_tokenizer(folder)
    task = saved(find_run(folder))[0].task
    if not isinstance(task, PretrainedConfig):
        raise InputError(f"{folder}: a run of another task than pretrained; it has no tokenizer")
    return opened(task.model)[1]


def is_run(folder: str | Path) -> bool:
    """Whether it is the directory of a run."""
    return (user_path(folder) / CONFIG).is_file()


@torch.no_grad()
def _merged(model: nn.Module) -> nn.Module:
    """The model with the linear maps around which peft's adapters were, these added to their weights; in place."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "get_base_layer"):
            parent, _, leaf = name.rpartition(".")
            module.merge()
            setattr(model.get_submodule(parent), leaf, module.get_base_layer())
    return model
