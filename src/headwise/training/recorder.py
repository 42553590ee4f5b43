"""The record of a run: lines of JSON, the same numbers to the loggers, and the clock."""

import contextlib
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headwise.files import append_record, typed
from headwise.tasks.base import TaskModel
from headwise.training.data import TrainingBatches
from headwise.training.divergence import FiniteGuard
from headwise.training.files import METRICS, ROUTING
from headwise.training.loggers import Logger, gates_by_layer
from headwise.training.optim import parameters_with_gradient, total_norm
from headwise.training.processes import Processes
from headwise.training.streaming import StreamingBatches


class Recorder:
    """Averages what training logs over `every` updates and writes it as one line; the only writer of the JSONL files.

    Gradient norms (before clipping), update-to-weight ratios and learning rates are those of the line's last update.
    Between lines an update costs it one list entry: no number is read from the device, nothing is formatted.

    Args:
        folder: the run's directory.
        loggers: get the same numbers.
        batches: the training stream, for epoch and examples.
        every: updates per training line.
        also_every: updates between validations; a line is closed before each.
        processes: whose means a line holds; the first writes it.
        timed: lines also hold the mean and the longest time of their updates, and the mean of epochs that ended.

    Attributes:
        examples: trained on so far, over all processes.
        latest: the latest training line.
    """

    def __init__(
        self,
        folder: Path,
        loggers: Sequence[Logger],
        batches: TrainingBatches | StreamingBatches,
        every: int,
        also_every: int,
        processes: Processes,
        timed: bool = False,
    ) -> None:
        self.folder, self.loggers, self.batches, self.processes = folder, loggers, batches, processes
        self.every, self.also_every = every, also_every
        self.seconds, self.examples = 0.0, 0
        self.latest: dict[str, Any] = {}
        self._since: float | None = None
        self._logs: list[dict[str, Tensor]] = []
        self._line_start = (0.0, 0)  # seconds and examples at the last line
        self._before: dict[str, list[Tensor]] = {}
        self.timed = timed
        self._times: Times | None = None

    def state_dict(self) -> dict[str, Any]:
        """With what is noted for the line that is not closed yet, so that a resumed run writes the same line, on
        however many processes. All of them must ask for it."""
        names = self._logs[0] if self._logs else {}
        count = self.processes.count
        noted = {name: self.processes.sum(torch.stack([log[name] for log in self._logs]).cpu()) for name in names}
        noted = {name: values if name == "tokens" else values / count for name, values in noted.items()}
        return {
            "seconds": self.elapsed(),
            "examples": self.examples,
            "line_start": list(self._line_start),
            "noted": noted,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seconds = typed(state, "seconds", float, "recorder")
        self.examples = typed(state, "examples", int, "recorder")
        seconds, examples = typed(state, "line_start", list, "recorder")
        self._line_start = (float(seconds), int(examples))
        count, saved = self.processes.count, typed(state, "noted", dict, "recorder")
        noted = {name: typed(saved, name, Tensor, "recorder: noted") for name in saved}
        noted = {name: values / count if name == "tokens" else values for name, values in noted.items()}
        self._logs = [dict(zip(noted, values, strict=True)) for values in zip(*noted.values(), strict=True)]

    def before_step(self, update: int, optimizer: torch.optim.Optimizer) -> None:
        """Before the optimiser step of update number `update`."""
        if self._closes_line(update):
            groups = parameters_with_gradient(optimizer)
            self._before = {role: [p.detach().clone() for p in own] for role, own in groups.items()}

    def after_step(
        self,
        update: int,
        logs: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        guard: FiniteGuard,
        model: TaskModel,
    ) -> None:
        """After that step, before gradients are dropped; `logs` are of the update."""
        self._logs.append(logs)
        if self._times is not None:
            self._times.note(self.elapsed(), self.batches.epoch)
        self.examples += self.batches.counted
        if self._closes_line(update):
            self._close_line(update, optimizer, guard, model)

    def write(self, file: str, update: int, split: str, values: Mapping[str, Any]) -> None:
        """Append one line, whole at once, and give its numbers to the loggers."""
        if not self.processes.first:
            return
        append_record(self.folder / file, {"update": update, "epoch": self.batches.epoch, "split": split, **values})
        group = "routing" if file == ROUTING else split
        numbers = {f"{group}/{k}": float(v) for k, v in values.items() if isinstance(v, (int, float))}
        for logger in self.loggers:
            logger.log(numbers, update)

    def log_gates(self, update: int, examples: Sequence[Any]) -> None:
        """Give the loggers the gates of a few examples (see `Score.examples`)."""
        gates = gates_by_layer(examples)
        for logger in self.loggers if gates else ():
            logger.log_gates(gates, update)

    def elapsed(self) -> float:
        """Seconds spent on updates so far; validation and saving do not count."""
        return self.seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def start_clock(self) -> None:
        """Count the seconds from now on."""
        self._since = time.perf_counter()
        if self.timed and self._times is None:
            self._times = Times(self.seconds, whole=self.batches.position == 0)

    def stop_clock(self) -> None:
        """Count no more."""
        self.seconds, self._since = self.elapsed(), None

    @contextlib.contextmanager
    def clock_stopped(self, stopped: bool) -> Iterator[None]:
        """Inside the block no seconds are counted, if they are `stopped`."""
        if stopped:
            self.stop_clock()
        yield
        if stopped:
            self.start_clock()

    def _closes_line(self, update: int) -> bool:
        return update % self.every == 0 or self.batches.due(update, self.also_every)

    def _close_line(self, update: int, optimizer: torch.optim.Optimizer, guard: FiniteGuard, model: TaskModel) -> None:
        logs, self._logs = self._logs, []
        guard.look()
        seconds, examples = self.elapsed(), self.examples
        duration, new = max(seconds - self._line_start[0], 1e-9), examples - self._line_start[1]
        self._line_start = (seconds, examples)
        means = torch.stack([torch.stack([log[name].double().cpu() for log in logs]).mean() for name in logs[0]])
        named = dict(zip(logs[0], (self.processes.sum(means) / self.processes.count).tolist(), strict=True))
        tokens = named.pop("tokens", None)
        values: dict[str, Any] = named | {
            "seconds": seconds,
            "examples": examples,
            "samples_per_second": new / duration,
        }
        if tokens is not None:
            values["tokens_per_second"] = tokens * self.processes.count * len(logs) / duration
        values |= self.batches.taken()
        if self._times is not None:
            values |= self._times.taken()
        values["peak_memory_mb"] = peak_memory_mb(next(model.parameters()).device)
        values |= {f"grad_norm/{role}": norm for role, norm in guard.norms.items()}
        values |= {f"update_ratio/{role}": ratio for role, ratio in self._update_ratios(optimizer).items()}
        values |= {f"lr/{group['role']}": group["lr"] for group in optimizer.param_groups}
        temperature = model.backbone.temperature
        if temperature is not None:
            values["temperature"] = temperature
        self.latest = values
        self.write(METRICS, update, "train", values)

    def _update_ratios(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Per role |weights after - weights before| / |weights before| of the latest step."""
        before, self._before = self._before, {}
        ratios = {}
        for role, now in parameters_with_gradient(optimizer).items() if before else ():
            moved = [new.detach() - old for new, old in zip(now, before[role], strict=True)]
            ratios[role] = total_norm(moved).item() / max(total_norm(before[role]).item(), 1e-12)
        return ratios


class Times:
    """What each update and each epoch takes, in seconds without validation.

    Args:
        seconds: of the run when its next update begins.
        whole: whether that update is the first of its epoch; else how long this epoch takes is not said.
    """

    def __init__(self, seconds: float, whole: bool) -> None:
        self._last, self._epoch = seconds, -1
        self._began = seconds if whole else None  # when the epoch at hand began
        self._updates: list[float] = []
        self._epochs: list[float] = []

    def note(self, seconds: float, epoch: int) -> None:
        """Note that an update of this epoch has ended, after so many seconds of the run."""
        if self._epoch not in (-1, epoch):
            self._epochs += [] if self._began is None else [self._last - self._began]
            self._began = self._last
        self._epoch = epoch
        self._updates.append(seconds - self._last)
        self._last = seconds

    def taken(self) -> dict[str, float]:
        """For a line: what was noted since the last."""
        updates, epochs, self._updates, self._epochs = self._updates, self._epochs, [], []
        found = {"update_seconds": sum(updates) / len(updates), "update_seconds_max": max(updates)}
        return found | ({"epoch_seconds": sum(epochs) / len(epochs)} if epochs else {})


def peak_memory_mb(device: torch.device) -> float:
    """Most memory in use so far: allocated on a CUDA device, else resident in the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
