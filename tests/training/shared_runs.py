"""Runs in float64 that several processes share; started by `launch`, so they live in a module of their own."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwise.tasks.base import Batch, Source, TaskData
from headwise.training.config import RunConfig
from headwise.training.fit import fit
from headwise.training.processes import joined
from headwise.training.run import build, reproducible


class Doubled(Source):
    """A source whose numbers are float64."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, index: Tensor) -> Batch:
        return {
            name: tensor.double() if tensor.is_floating_point() else tensor
            for name, tensor in self.source.batch(index).items()
        }

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        return self.source.plan(batch_size, seed, epoch, shuffle)


class DoubledData:
    """Data whose splits are `Doubled`."""

    def __init__(self, data: TaskData) -> None:
        self.data, self.facts = data, data.facts

    def split(self, name: str) -> Source:
        return Doubled(self.data.split(name))


Weights = dict[str, "np.ndarray[Any, Any]"]


def trained(config: RunConfig, directory: Path, resume: bool = False) -> Weights:
    """Weights of a run in float64, in the directory, whose metrics.jsonl has its losses."""
    torch.set_default_dtype(torch.float64)
    try:
        with joined("cpu") as processes, reproducible(config):
            data, model = build(config)
            directory.mkdir(exist_ok=True)
            fit(config, model, DoubledData(data), directory, resume, False, processes)  # type: ignore[arg-type]
            return {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    finally:
        torch.set_default_dtype(torch.float32)


def trained_all(configs: dict[str, RunConfig], directory: Path) -> dict[str, Weights]:
    """Several runs, one after the other."""
    return {name: trained(config, directory / name) for name, config in configs.items()}


class Dying(Source):
    """In process 1 the source of a batch dies after some, without a word."""

    def __init__(self, source: Source, rank: int, after: int) -> None:
        self.source, self.rank, self.left = source, rank, after

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, index: Tensor) -> Batch:
        self.left -= 1
        if self.left < 0 and self.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source.batch(index)


def dying(config: RunConfig, directory: Path, after: int) -> Any:
    """A run of whose two processes one is killed."""
    with joined("cpu") as processes, reproducible(config):
        data, model = build(config)
        split, directory_ = data.split, directory
        directory_.mkdir(exist_ok=True)
        data.split = lambda name: Dying(split(name), processes.rank, after) if name == "train" else split(name)  # type: ignore[method-assign]
        return fit(config, model, data, directory_, False, False, processes)


def spoiled(config: RunConfig, directory: Path) -> Any:
    """A run in whose second process a batch holds a NaN."""

    class Spoiled(Doubled):
        def batch(self, index: Tensor) -> Batch:
            batch = super().batch(index)
            batch["values"] = batch["values"] * torch.nan
            return batch

    with joined("cpu") as processes, reproducible(config):
        data, model = build(config)
        split = data.split
        directory.mkdir(exist_ok=True)
        if processes.rank == 1:
            data.split = lambda name: Spoiled(split(name)) if name == "train" else split(name)  # type: ignore[method-assign]
        return fit(config, model, data, directory, False, False, processes)
