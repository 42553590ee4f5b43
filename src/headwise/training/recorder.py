"""The record of a run: lines of JSON, the same numbers to the loggers, and the clock."""

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, WandbLogger
from torch import Tensor

from headwise.training.data import TrainingBatches
from headwise.training.lines import METRICS, ROUTING, append, forget_after
from headwise.training.module import HeadwiseModule
from headwise.training.optim import parameters_with_gradient
from headwise.training.stops import Interruption


class Recorder(Callback):
    """Averages what training logs over `every` updates and writes it as one line; the only writer of the JSONL files.

    Gradient norms (before clipping), update-to-weight ratios and learning rates are those of the line's last update.
    Between lines an update costs it one list entry: no number is read from the device, nothing is formatted.

    Args:
        folder: the run's directory.
        loggers: Lightning loggers that get the same numbers.
        batches: the training stream, for the epoch.
        every: updates per training line.
        also_every: updates between validations; a line is closed before each.
        interruption: closes the line when the run is about to stop.
    """

    def __init__(
        self,
        folder: Path,
        loggers: Sequence[Logger],
        batches: TrainingBatches,
        every: int,
        also_every: int,
        interruption: Interruption,
    ) -> None:
        self.folder, self.loggers, self.batches = folder, loggers, batches
        self.every, self.also_every, self.interruption = every, also_every, interruption
        self.seconds, self.examples = 0.0, 0
        self.latest: dict[str, Any] = {}
        self._since: float | None = None
        self._logs: list[dict[str, Tensor]] = []
        self._line_start = (0.0, 0)  # seconds and examples at the last line
        self._before: dict[str, list[Tensor]] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.elapsed(), "examples": self.examples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds, self.examples = state_dict["seconds"], state_dict["examples"]
        self._line_start = (self.seconds, self.examples)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name in (METRICS, ROUTING):
            forget_after(self.folder / name, trainer.global_step)
        self.resume_clock()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if self._closes_line(trainer.global_step + 1):
            groups = parameters_with_gradient(optimizer)
            self._before = {role: [p.detach().clone() for p in own] for role, own in groups.items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._logs.append(cast(HeadwiseModule, pl_module).logs)
        self.examples += 0 if self.batches.segment else len(next(iter(batch.values())))
        if self._closes_line(trainer.global_step) or (self.interruption.requested and self.batches.between):
            self._close_line(trainer, cast(HeadwiseModule, pl_module))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.pause_clock()
        self._finish("success")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._finish("failed")

    def write(self, file: str, update: int, split: str, values: Mapping[str, Any]) -> None:
        """Append one line, whole at once, and give its numbers to the loggers."""
        line = {"update": update, "epoch": self.batches.epoch, "split": split} | dict(values)
        append(self.folder / file, line)
        group = "routing" if file == ROUTING else split
        numbers = {f"{group}/{k}": float(v) for k, v in values.items() if isinstance(v, (int, float))}
        for logger in self.loggers:
            logger.log_metrics(numbers, step=update)

    def elapsed(self) -> float:
        """Seconds spent on updates so far; validation and saving do not count."""
        return self.seconds + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def pause_clock(self) -> None:
        self.seconds, self._since = self.elapsed(), None

    def resume_clock(self) -> None:
        self._since = time.perf_counter()

    def _finish(self, status: str) -> None:
        for logger in self.loggers:
            logger.finalize(status)
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()  # else the next run of this process would be written into this one

    def _closes_line(self, update: int) -> bool:
        return update % self.every == 0 or self.batches.due(update, self.also_every)

    def _close_line(self, trainer: Trainer, module: HeadwiseModule) -> None:
        logs, self._logs = self._logs, []
        module.guard.look()
        seconds, examples = self.elapsed(), self.examples
        duration, new = max(seconds - self._line_start[0], 1e-9), examples - self._line_start[1]
        self._line_start = (seconds, examples)
        means = {name: torch.stack([log[name] for log in logs]).mean().item() for name in logs[0]}
        values: dict[str, Any] = {name: value for name, value in means.items() if name != "tokens"}
        values |= {"seconds": seconds, "examples": examples, "samples_per_second": new / duration}
        if "tokens" in means:
            values["tokens_per_second"] = means["tokens"] * len(logs) / duration
        values["peak_memory_mb"] = peak_memory_mb(module.device)
        values |= {f"grad_norm/{role}": norm for role, norm in module.guard.norms.items()}
        optimizer = trainer.optimizers[0]
        values |= {f"update_ratio/{role}": ratio for role, ratio in self._update_ratios(optimizer).items()}
        values |= {f"lr/{group['role']}": group["lr"] for group in optimizer.param_groups}
        temperature = getattr(getattr(module.model, "backbone", None), "temperature", None)
        if temperature is not None:
            values["temperature"] = temperature
        self.latest = values
        self.write(METRICS, trainer.global_step, "train", values)

    def _update_ratios(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Per role |weights after - weights before| / |weights before| of the latest step."""
        before, self._before = self._before, {}
        ratios = {}
        for role, now in parameters_with_gradient(optimizer).items() if before else ():
            moved = [new.detach() - old for new, old in zip(now, before[role], strict=True)]
            size = torch.nn.utils.get_total_norm(before[role]).item()
            ratios[role] = torch.nn.utils.get_total_norm(moved).item() / max(size, 1e-12)
        return ratios


def peak_memory_mb(device: torch.device) -> float:
    """Most memory in use so far: allocated on a CUDA device, else resident in the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
