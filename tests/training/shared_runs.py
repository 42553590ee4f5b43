"""Runs in float64 that several processes share; started by `launch`, so they live in a module of their own."""

import atexit
import contextlib
import faulthandler
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headwise.tasks.base import Batch, Source
from headwise.training.building import reproducible
from headwise.training.config import RunConfig
from headwise.training.divergence import TrainingDiverged
from headwise.training.fit import fit
from headwise.training.interruption import TrainingInterrupted
from headwise.training.processes import joined
from headwise.training.start import build
from headwise.training.state import whole

LONGEST = 1200.0
"""Seconds after which a process that others wait for ends and says where it was; a quiet machine needs twenty."""

Weights = dict[str, "np.ndarray[Any, Any]"]
Change = Callable[[int, Batch], Batch]


class Changed(Source):
    """A source in float64 whose batches are changed, told how many were asked for before."""

    def __init__(self, source: Source, change: Change) -> None:
        self.source, self.change, self.asked = source, change, 0

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, index: Tensor) -> Batch:
        batch = self.change(self.asked, self.source.batch(index))
        self.asked += 1
        return {name: part.double() if part.is_floating_point() else part for name, part in batch.items()}

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        return self.source.plan(batch_size, seed, epoch, shuffle)


@contextlib.contextmanager
def in_float64() -> Iterator[None]:
    """Inside the block new weights are float64."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def same(asked: int, batch: Batch) -> Batch:
    """The batch as it is."""
    return batch


def trained(config: RunConfig, directory: Path, resume: bool = False, change: Change = same, rank: int = 0) -> Weights:
    """Weights of a run in float64, in the directory, whose metrics.jsonl has its losses.

    `change` is made to the training batches of process `rank`.
    """
    with in_float64(), joined("cpu") as processes, reproducible(config):
        data, model = build(config)
        split, own = data.split, change if processes.rank == rank else same
        data.split = lambda name: Changed(split(name), own if name == "train" else same)  # type: ignore[method-assign]
        directory.mkdir(exist_ok=True, parents=True)
        fit(config, model, data, directory, resume, False, processes)
        return {name: whole(tensor).numpy() for name, tensor in model.state_dict().items()}


def stopped(config: RunConfig, directory: Path, update: int) -> int | None:
    """A run that is asked to stop in one of its processes, while a batch is made; the update after which it did."""

    def pressing(asked: int, batch: Batch) -> Batch:
        if asked == update - 1:
            signal.raise_signal(signal.SIGINT)
        return batch

    try:
        trained(config, directory, change=pressing)
    except TrainingInterrupted as end:
        return end.update
    raise AssertionError("was not stopped")


def spoiled(config: RunConfig, directory: Path) -> int:
    """A run of which one process's batch is not finite; the update that is named."""

    def spoil(asked: int, batch: Batch) -> Batch:
        return batch if asked < 3 else batch | {"values": batch["values"] * torch.nan}

    try:
        trained(config, directory, change=spoil, rank=1)
    except TrainingDiverged as end:
        return end.update
    raise AssertionError("was not noticed")


def killed(config: RunConfig, directory: Path) -> None:
    """A run of which one process is killed, after a checkpoint."""

    def die(asked: int, batch: Batch) -> Batch:
        if asked == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    faulthandler.dump_traceback_later(LONGEST, exit=True)
    trained(config, directory, change=die, rank=1)


def deaf(directory: Path) -> None:
    """Work that no interrupt ends, for as long as a test may look at it."""
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (directory / f"{os.getpid()}.pid").touch()
    while True:
        time.sleep(0.05)


def all_of(configs: dict[str, RunConfig], directory: Path) -> dict[str, Any]:
    """Several runs one after the other, since starting processes takes longer than a run."""
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    plain = configs["plain"]
    found: dict[str, Any] = {name: trained(config, directory / name) for name, config in configs.items()}
    found["stopped"] = stopped(plain, directory / "stopped", 8)
    trained(plain, directory / "continued", resume=True)
    found["spoiled"] = spoiled(plain, directory / "spoiled")
    return found


def ends_badly() -> str:
    """A process that has done its work, and whose interpreter aborts on its way out."""
    atexit.register(os.abort)
    return "done"
