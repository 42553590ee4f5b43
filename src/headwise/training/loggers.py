"""Where a run's numbers go beside its own files: TensorBoard, Weights & Biases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from headwise.training.config import RunConfig


class Logger(Protocol):
    """Takes numbers by name, each time with the update that they belong to."""

    def log(self, numbers: Mapping[str, float], update: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's `tensorboard/`, opened at the first numbers, as the package takes a while to load.

    Args:
        directory: of the run.
        resumed_at: update from which the run goes on; what an interrupted run wrote after it is hidden.
    """

    def __init__(self, directory: Path, resumed_at: int | None) -> None:
        self.folder = directory / "tensorboard"
        self.purge_step = None if resumed_at is None else resumed_at + 1
        self._writer: Any = None

    def log(self, numbers: Mapping[str, float], update: int) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=self.purge_step)
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, update)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases under the name of the directory; a run that is resumed there goes on in it.

    Args:
        config: of the run.
        directory: of the run; its files go there.
        offline: keep them there, to be sent later with `wandb sync`.
    """

    def __init__(self, config: RunConfig, directory: Path, offline: bool) -> None:
        import wandb

        self._run = wandb.init(
            project="headwise",
            name=directory.name,
            id=hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            dir=directory,
            config=config.to_plain(),
            mode="offline" if offline else "online",
        )

    def log(self, numbers: Mapping[str, float], update: int) -> None:
        self._run.log(dict(numbers), step=update)

    def close(self) -> None:
        self._run.finish()  # else the next run of this process would be written into this one


def make_loggers(config: RunConfig, directory: Path, resumed_at: int | None) -> list[Logger]:
    """The loggers that `training.loggers` names, writing into the run's directory."""
    return [
        TensorBoard(directory, resumed_at)
        if name == "tensorboard"
        else WeightsAndBiases(config, directory, offline=name == "wandb_offline")
        for name in config.training.loggers
    ]
