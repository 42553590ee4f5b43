"""`training.precision=auto`: settled once, before a run begins, and from then on a setting like any other."""

import logging
from dataclasses import replace

import torch

from headwise.models.precision import Precision, measure
from headwise.tasks.base import TaskData, TaskModel
from headwise.training.config import RunConfig
from headwise.training.machine import device_of
from headwise.training.objective import Part, Step
from headwise.training.schedules import loss_weights

log = logging.getLogger("headwise")


def settled(config: RunConfig, model: TaskModel, data: TaskData) -> RunConfig:
    """The configuration with fp32 or bf16 in place of `auto`: whichever trains faster here.

    One forward and backward pass on the run's first batch is timed in each (see `headwise.models.precision.measure`);
    weights and random numbers stay as they are.

    Args:
        config: of a run.
        model: as it was built; back on the CPU afterwards.
        data: of the run.
    """
    if config.training.precision != "auto":
        return config
    device, source = device_of(config.device), data.split("train")
    index = source.plan(config.training.batch_size, config.seed, epoch=0, shuffle=True)[0]
    batch = {name: tensor.to(device) for name, tensor in source.batch(index).items()}
    weights = loss_weights(config.training, update=1)
    model.to(device).train()
    part = Part(model.task.terms(batch).sum())

    def step(precision: Precision) -> None:
        torch.autograd.backward(Step(model, precision)(batch, weights, None, part).loss)
        model.zero_grad()

    choice = measure(step, device)
    model.cpu()
    log.info("%s", choice)
    return replace(config, training=replace(config.training, precision=choice.precision))
