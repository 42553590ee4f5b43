"""What a run takes, before it is trained: parameters, FLOPs, and time on this machine or at a rate that is given."""

from typing import Any

import torch

from headwise.errors import InputError
from headwise.lab.comparison.plan import length_of
from headwise.lab.scaling.budget import seconds
from headwise.models.flops import flops_per_example, training_flops_per_example
from headwise.models.roles import parameters_by_role
from headwise.training.building import build_model, data_of
from headwise.training.config import RunConfig
from headwise.training.memory import process_memory, weights_memory

MEASURED = "time from timed passes of one block on this machine, good to a factor of two if it has nothing else to do"
GIVEN = "time at the rate given, validations apart"


def plan_run(config: RunConfig, teraflops: float | None = None) -> dict[str, Any]:
    """What training `config` takes; trains nothing and writes nothing.

    Args:
        config: of the run.
        teraflops: FLOPs per second / 10^12 that the machine which trains really reaches, a third to a half of its
            nominal rate; None times some passes on this one.

    Returns:
        parameters, flops_per_example (of an evaluation), flops_per_update, flops (of all updates), bytes (weights,
        gradients and optimiser state), seconds, how.

    Raises:
        InputError: a rate that is not above 0, or what a run refuses.
    """
    if teraflops is not None and not teraflops > 0:
        raise InputError(f"teraflops={teraflops:g}: choose a rate above 0")
    data = data_of(config)
    with torch.device("meta"):
        model = build_model(config, data.facts)
    length, training = length_of(config, data), config.training
    update = training_flops_per_example(model.backbone, length) * training.batch_size
    memory = weights_memory(config, data.facts, process_memory(config.device))
    if teraflops is None:
        taken, how = seconds(config, data, training.threads or torch.get_num_threads()).run, MEASURED
    else:
        taken, how = training.updates * update / (teraflops * 1e12), GIVEN
    return {
        "task": config.entry.name,
        "arm": config.name,
        "parameters": sum(p.numel() for _, own in parameters_by_role(model).items() for _, p in own),
        "tokens": length,
        "flops_per_example": flops_per_example(model.backbone, length),
        "flops_per_update": update,
        "updates": training.updates,
        "batch_size": training.batch_size,
        "flops": training.updates * update,
        "bytes": memory.parameters + memory.gradients + memory.optimizer,
        "seconds": taken,
        "how": how,
    }
