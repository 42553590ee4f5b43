"""The state of a run: everything that the rest of it depends on, saved between batches and put back.

It does not depend on how many processes share the run: what is sharded is put together, and only the random numbers of
each process are its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import record_function

from headwise.errors import InputError, in_a_line
from headwise.files import typed
from headwise.tasks.base import TaskModel
from headwise.training.checkpoints import random_state, set_random_state, write_checkpoint
from headwise.training.files import CHECKPOINTS, METRICS, ROUTING
from headwise.training.jsonl import forget_after

if TYPE_CHECKING:
    from headwise.training.loop import Training

MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
"""What AdamW keeps of a parameter that it has moved."""


@record_function("headwise: saving")
def save(run: Training) -> None:
    """Write a checkpoint, the best one, too, if this update's validation was the best.

    Raises:
        TrainingDiverged: a number that was not read yet is not finite: it must not replace a good checkpoint.
        StorageError: there is no space; the checkpoint before is untouched.
    """
    run.guard.look()
    content = state_of(run)
    best = run.validation.best_update == run.batches.position
    run.processes.of_first(lambda: write_checkpoint(run.folder, content, best))


def state_of(run: Training) -> dict[str, Any]:
    """Tensors and plain values, the same in every process."""
    return {
        "update": run.batches.position,
        "model": {name: whole(tensor) for name, tensor in run.model.state_dict().items()},
        "average": None if run.average is None else {n: whole(t) for n, t in run.average.state_dict().items()},
        "optimizer": _mapped(run.optimizer.state_dict(), whole),
        "batches": run.batches.state_dict(),
        "recorder": run.recorder.state_dict(),
        "validation": run.validation.state_dict(),
        "random": run.processes.gather(random_state()),
    }


def restore(run: Training, state: dict[str, Any], path: Path) -> None:
    """Bring a run to the state of a checkpoint.

    Args:
        run: at its beginning.
        state: content of the checkpoint.
        path: its file, for messages.

    Raises:
        InputError: the checkpoint does not fit the run.
    """
    restore_model(run.model, state, path)
    try:
        if typed(state, "update", int, path) != typed(state["batches"], "position", int, "batches"):
            raise InputError(f"update is {state['update']}, the position in the data {state['batches']['position']}")
        run.batches.load_state_dict(state["batches"])
        run.recorder.load_state_dict(state["recorder"])
        run.validation.load_state_dict(state["validation"])
        if run.average is not None:
            run.average.load_state_dict(state["average"])
        _load_optimizer(run.optimizer, state["optimizer"])
        _restore_random(run, state["random"])
    except InputError as error:
        raise InputError(f"{path}: not the state of this run ({error})") from None
    # Whatever else tensors and plain values of other shapes and types make torch, numpy and Python raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise InputError(f"{path}: not the state of this run ({type(error).__name__}: {in_a_line(error)})") from None


def tidy(directory: Path, update: int) -> None:
    """Make the files of a run those of one that has taken so many updates.

    Lines of its records that lie after it are dropped, since they will be written again, and so is what a run that was
    killed had half written.
    """
    for name in (METRICS, ROUTING):
        forget_after(directory / name, update)
    for folder in (directory, directory / CHECKPOINTS):
        for left in folder.glob(".*.tmp"):
            left.unlink()


def restore_model(model: TaskModel, state: dict[str, Any], path: Path, averaged: bool = False) -> None:
    """Give `model` the weights in a checkpoint's content, or their average, where `averaged` and it has one.

    Raises:
        InputError: they are those of another model.
    """
    try:
        weights = typed(state, "model", dict, path) | (state["average"] or {} if averaged else {})
        own = model.state_dict()
        model.load_state_dict({name: _like(tensor, own.get(name)) for name, tensor in weights.items()})
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the weights of this model ({in_a_line(error)})") from None


def whole(tensor: Tensor) -> Tensor:
    """A tensor as it is in one process: put together where it is sharded. All processes must ask for it."""
    # Asked for by name: importing DTensor takes as long as half of torch.
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """The moments of every parameter; learning rates and the like are the configuration's."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved: dict[int, dict[str, Tensor]] = typed(state, "state", dict, "optimizer")
    for number, moments in saved.items():
        if number not in range(len(parameters)):
            raise InputError(f"optimizer: it has the state of parameter {number}, the model has {len(parameters)}")
        if moments.keys() != MOMENTS:
            raise InputError(f"optimizer: parameter {number} has {', '.join(map(str, moments))}")
        for name in MOMENTS:
            moment = typed(moments, name, Tensor, f"optimizer: parameter {number}")
            shape = torch.Size() if name == "step" else parameters[number].shape
            if moment.shape != shape or not moment.is_floating_point():
                raise InputError(
                    f"optimizer: {name} of parameter {number} is {moment.dtype} of {tuple(moment.shape)}, expected "
                    f"numbers of {tuple(shape)}"
                )
            moments[name] = moment if name == "step" else _like(moment, parameters[number])
    optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})


def _like(tensor: Tensor, own: Any) -> Tensor:
    """A whole tensor, sharded as `own` is, if that is."""
    if not hasattr(own, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)


def _restore_random(run: Training, states: list[dict[str, Any]]) -> None:
    if len(states) == run.processes.count:
        set_random_state(states[run.processes.rank])
    elif run.processes.first:
        set_random_state(states[0])
    else:
        seed_process(run.config.seed, run.processes.rank, run.batches.position)


def seed_process(seed: int, rank: int, update: int = 0) -> None:
    """Give training in process `rank` random numbers of its own; those of the weights are the same in all."""
    entropy = [seed, 1] if not (rank or update) else [seed, 1, rank, update]
    torch.manual_seed(np.random.SeedSequence(entropy).generate_state(1).item())


def _mapped(value: Any, change: Any) -> Any:
    """Plain data with `change` applied to every tensor in it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mapped(item, change) for item in value]
    return value
