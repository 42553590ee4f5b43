"""What the training loop costs: an update in it beside the bare forward pass, backward pass and optimiser."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from headwise.models.sizes import ModelConfig
from headwise.tasks import entry
from headwise.training.building import reproducible
from headwise.training.config import RunConfig, TrainingConfig
from headwise.training.fit import fit
from headwise.training.objective import weighted_task_loss
from headwise.training.start import build


def step_times(updates: int = 60, rounds: int = 8) -> tuple[float, float]:
    """Processor seconds per update of sorting 20 elements, 32 examples, D = 64, one block, one thread: (ours, bare).

    Ours makes the batches, weighs the losses, clips by role, guards against numbers that are not finite and records:
    what a run of twice as many updates takes longer, so that setting up and validating do not count. Bare has all
    batches ready and calls the model, the task's loss, backward and AdamW. They take turns; each counts with its
    fastest round, the one that other programs disturbed least.
    """
    task = entry("sorting").config(length=20, validation_examples=32)  # any would do; this one needs no files
    config = RunConfig(task=task, model=ModelConfig(width=64, depth=1), training=_recipe(updates), device="cpu")
    longer = replace(config, training=_recipe(2 * updates))
    times: dict[str, list[float]] = {"once": [], "twice": [], "bare": []}
    for _ in range(rounds):
        times["once"].append(_ours(config))
        times["twice"].append(_ours(longer))
        times["bare"].append(_bare(config))
    return (min(times["twice"]) - min(times["once"])) / updates, min(times["bare"]) / updates


def _recipe(updates: int) -> TrainingConfig:
    return TrainingConfig(updates=updates, batch_size=32, validate_every=updates, loggers=(), threads=1)


def _ours(config: RunConfig) -> float:
    with reproducible(config), tempfile.TemporaryDirectory() as folder:
        data, model = build(config)
        start = time.process_time()
        fit(config, model, data, Path(folder), resume=False, progress=False)
        return time.process_time() - start


def _bare(config: RunConfig) -> float:
    with reproducible(config):
        data, model = build(config)
        source, training = data.split("train"), config.training
        plan = source.plan(training.batch_size, config.seed, 0, shuffle=True)
        batches = [source.batch(plan[number % len(plan)]) for number in range(training.updates)]
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        start = time.process_time()
        for batch in batches:
            loss = weighted_task_loss(model, batch, model(batch)) / model.task.terms(batch).sum()
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        return time.process_time() - start
