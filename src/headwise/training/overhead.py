"""What the training framework costs: the time of an update through `fit` and through a loop of plain torch."""

import tempfile
import time
from pathlib import Path

import torch

from headwise.models.sizes import ModelConfig
from headwise.tasks import entry
from headwise.training.config import RunConfig, TrainingConfig
from headwise.training.data import TrainingBatches
from headwise.training.fit import fit
from headwise.training.objective import objective
from headwise.training.optim import clip_by_role, optimizer_for
from headwise.training.run import build, reproducible
from headwise.training.schedules import learning_rate_factor


def step_times(updates: int = 150, rounds: int = 12) -> tuple[float, float]:
    """Seconds per update of a tiny model on small batches, so that the framework shows: (ours, plain).

    Both do the same work on the same batches: objective, backward pass, clipping by role, AdamW, learning rate. Ours
    adds Lightning, the callbacks, the guard and the metrics. They take turns; each counts with its fastest round,
    the one that other programs disturbed least.
    """
    training = TrainingConfig(updates=updates, batch_size=8, validate_every=updates, loggers=())
    task = entry("sorting").config()  # any would do; this one needs no data and is quick to make
    config = RunConfig(task=task, model=ModelConfig(width=16, heads=2, ffn=16), training=training, device="cpu")
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        times["ours"].append(_ours(config))
        times["plain"].append(_plain(config))
    return min(times["ours"]), min(times["plain"])


def _ours(config: RunConfig) -> float:
    with reproducible(config), tempfile.TemporaryDirectory() as folder:
        data, model = build(config)
        return fit(config, model, data, Path(folder), resume=False, progress=False).seconds / config.training.updates


def _plain(config: RunConfig) -> float:
    training = config.training
    with reproducible(config):
        data, model = build(config)
        batches = TrainingBatches(data.split("train"), training.batch_size, training.updates, config.seed)
        optimizer, clip = optimizer_for(model, training.preset), training.preset.clip()
        start = time.perf_counter()
        for update, batch in enumerate(batches):
            factor = learning_rate_factor(update, training.updates, training.warmup, training.schedule)
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            optimizer.zero_grad()
            torch.autograd.backward(objective(model, batch, {}).loss)
            clip_by_role(optimizer, clip)
            optimizer.step()
        return (time.perf_counter() - start) / training.updates
