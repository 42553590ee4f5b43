"""Where a run's settings, numbers, gates and summary go beside its own files: TensorBoard, Weights & Biases."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from headwise.errors import InputError
from headwise.files import writes_to

if TYPE_CHECKING:
    from headwise.training.config import RunConfig

GATED_EXAMPLES = 4  # validation examples whose gates make a histogram: a few thousand numbers, a few milliseconds


class Logger(Protocol):
    """Takes numbers by name, each time with the update that they belong to."""

    def resume(self, update: int) -> None:
        """The run goes on after this update; what was logged of later ones will come again."""

    def log(self, numbers: Mapping[str, float], update: int) -> None:
        """Numbers of one kind: training, validation or routing."""

    def log_gates(self, gates: Mapping[str, Sequence[float]], update: int) -> None:
        """The gates that a layer gave, over heads, tokens, steps and a few examples, for a histogram of each."""

    def summarise(self, summary: Mapping[str, Any]) -> None:
        """What summary.json says, at the end of the run."""

    def close(self) -> None:
        """Nothing comes any more."""


class TensorBoard:
    """An event file in the run's `tensorboard/`, opened at the first numbers, as the package takes a while to load.

    Written here and now, not by the package's own thread, in which a full disk is a traceback that stops nothing.

    Args:
        config: of the run; its settings are the file's hyperparameters.
        directory: of the run.
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        self.config, self.folder = config, directory / "tensorboard"
        self._resumed_at: int | None = None
        self._file: IO[bytes] | None = None

    def resume(self, update: int) -> None:
        self._resumed_at = update

    def log(self, numbers: Mapping[str, float], update: int) -> None:
        from torch.utils.tensorboard import summary as protocol

        self._write([protocol.scalar(name, value) for name, value in numbers.items()], update)  # type: ignore[no-untyped-call]

    def log_gates(self, gates: Mapping[str, Sequence[float]], update: int) -> None:
        import numpy as np
        from torch.utils.tensorboard import summary as protocol

        bins = 30  # TensorBoard's own display has as many
        made = [protocol.histogram(name, np.asarray(values), bins) for name, values in gates.items()]  # type: ignore[no-untyped-call]
        self._write(made, update)

    def summarise(self, summary: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import summary as protocol

        plain = flat(self.config.to_plain()).items()
        settings = {name: value if isinstance(value, (int, float)) else str(value) for name, value in plain}
        results = {name: summary[name] for name in ("value", "task_loss")}
        numbers = {f"summary/{name}": float(value) for name, value in flat(summary).items() if is_number(value)}
        self.log(numbers, summary["updates"])
        about = protocol.hparams(settings, {f"summary/{name}": value for name, value in results.items()})  # type: ignore[no-untyped-call]
        self._write(about, summary["updates"])

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # of what could not be written, and was reported then
                self._file.close()

    def _write(self, summaries: Sequence[Any], update: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        now = time.time()
        events = [Event(wall_time=now, step=update, summary=summary) for summary in summaries]
        with writes_to(self.folder):
            if self._file is None:
                self.folder.mkdir(exist_ok=True)
                name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
                self._file = (self.folder / name).open("wb")
                events.insert(0, Event(wall_time=now, file_version="brain.Event:2"))
                if self._resumed_at is not None:  # hides what an interrupted run wrote after that update
                    begun = SessionLog(status=SessionLog.START)
                    events.insert(1, Event(wall_time=now, step=self._resumed_at + 1, session_log=begun))
            for event in events:
                RecordWriter(self._file).write(event.SerializeToString())
            self._file.flush()


class WeightsAndBiases:
    """A run of Weights & Biases under the name of the directory; a run that is resumed there goes on in it.

    Args:
        config: of the run.
        directory: of the run; its files go there.
        offline: keep them there, to be sent later with `wandb sync`; otherwise WANDB_MODE decides.

    Raises:
        InputError: W&B refuses, without a key or a connection, say.
    """

    def __init__(self, config: RunConfig, directory: Path, offline: bool) -> None:
        import wandb

        self._histogram = wandb.Histogram
        try:
            self._run = wandb.init(
                project="headwise",
                name=directory.name,
                id=hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16],
                resume="allow",
                dir=directory,
                config=config.to_plain(),
                mode="offline" if offline else None,
            )
        except wandb.errors.Error as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"training.loggers=wandb: {reason}; choose wandb_offline, or none") from None

    def resume(self, update: int) -> None:
        pass  # W&B itself leaves out steps that it has

    def log(self, numbers: Mapping[str, float], update: int) -> None:
        self._run.log(dict(numbers), step=update)

    def log_gates(self, gates: Mapping[str, Sequence[float]], update: int) -> None:
        self._run.log({name: self._histogram(list(values)) for name, values in gates.items()}, step=update)

    def summarise(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update(flat(summary))

    def close(self) -> None:
        import wandb

        self._run.finish()  # else the next run of this process would be written into this one
        if wandb.run is None:  # no run of somebody else's in this process
            wandb.teardown()  # waits for the file, which is still being written when `finish` returns


@contextlib.contextmanager
def logging_to(config: RunConfig, directory: Path, first: bool) -> Iterator[list[Logger]]:
    """Inside the block the loggers that `training.loggers` names, in the first process of a run."""
    loggers: list[Logger] = [
        TensorBoard(config, directory)
        if name == "tensorboard"
        else WeightsAndBiases(config, directory, offline=name == "wandb_offline")
        for name in (config.training.loggers if first else ())
    ]
    try:
        yield loggers
    finally:
        for logger in loggers:
            logger.close()


def gates_by_layer(examples: Sequence[Any]) -> dict[str, list[float]]:
    """The gates of `Score.examples`, [step][layer][L|1][H] for each, layer by layer in one row."""
    found: dict[str, list[float]] = {}
    for steps in examples:
        for layers in steps:
            for number, tokens in enumerate(layers):
                found.setdefault(f"gates/layer{number}", []).extend(weight for token in tokens for weight in token)
    return found


def flat(plain: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; `before` is put in front of them."""
    found: dict[str, Any] = {}
    for key, value in plain.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def is_number(value: Any) -> bool:
    """Whether a value can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
