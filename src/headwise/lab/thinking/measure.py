"""One restart of one run at one number of steps: what its answers score, and all that a selection may know of them.

Legend: B batch, N examples, A updates of the answer, L length, D width.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwise.errors import InputError
from headwise.files import make_folder, read_arrays, read_mapping, write_json, writing
from headwise.lab.thinking.selection import Candidates, stacked
from headwise.lab.thinking.settings import answers, checks
from headwise.models.following import following
from headwise.reasoning.depth import Depth
from headwise.reasoning.trace import Trace
from headwise.tasks.base import Batch, Source, TaskModel
from headwise.training.config import RunConfig
from headwise.training.evaluation import score_on_device

AT_ONCE = 2**28
"""Bytes of states that are kept at once to look at the answer after every step."""


@dataclass(frozen=True)
class Restart:
    """What a run did on N examples from one draw of all that is random.

    Attributes:
        metrics: by name, float [N].
        steps: taken, float [N]; fewer than there could be where an example halted.
        residual, halting, answer, valid: as in `selection.Candidates`, [N].
    """

    metrics: Mapping[str, NDArray[np.float64]]
    steps: NDArray[np.float64]
    residual: NDArray[np.float64]
    halting: NDArray[np.float64] | None = None
    answer: NDArray[np.int64] | None = None
    valid: NDArray[np.bool_] | None = None


def candidates(restarts: list[Restart]) -> Candidates:
    """What is known of the answers of several restarts."""
    known = ("residual", "halting", "answer", "valid")
    return Candidates(**{name: stacked([getattr(one, name) for one in restarts]) for name in known})  # type: ignore[arg-type]


def set_thinking(model: TaskModel, depth: Depth, noise: float, every: int) -> None:
    """Let the model take so many steps, with such noise, from now on."""
    model.backbone.set_steps(depth.each, depth.segments)
    model.backbone.set_noise(noise, every)


def restarted(config: RunConfig, model: TaskModel, source: Source, seed: int, batch_size: int | None = None) -> Restart:
    """The model on a source, from the draws of one seed; the result does not depend on the size of batches."""
    size = batch_size or config.training.evaluation_batch_size
    result = score_on_device(config, model, source, size, seed=seed, look=_known(model))
    seen = {name: values.numpy() for name, values in result.looked.items()}
    metrics = {name: values.double().numpy() for name, values in result.metrics.items()}
    return Restart(metrics, result.steps.double().numpy(), **seen)


def _known(model: TaskModel) -> Any:
    task = model.task

    def look(prediction: Any, batch: Batch, trace: Trace) -> dict[str, Tensor]:
        assert trace.residuals is not None
        known = {"residual": trace.residuals[-1].double()}
        if (sure := getattr(trace, "halting", None)) is not None:
            known["halting"] = sure.double()
        if answers(type(task)):
            known["answer"] = digests(task.answer(prediction, batch))
        if checks(type(task)):
            known["valid"] = task.valid(prediction, batch)
        return known

    return look


def digests(answer: Tensor) -> Tensor:
    """A number for each answer [B, A], equal where two are, int64 [B]; the -1 behind an answer do not count, as their
    number is that of the longest in the batch."""
    found = []
    for row in answer.cpu().numpy().astype(np.int64):
        length = len(row) - int((row[::-1] != -1).argmax()) if (row != -1).any() else 0
        digest = hashlib.blake2b(np.ascontiguousarray(row[:length]).tobytes(), digest_size=8).digest()
        found.append(int.from_bytes(digest, "little", signed=True))
    return torch.tensor(found, dtype=torch.int64)


@dataclass(frozen=True)
class Followed:
    """The answers of N examples after each of A updates.

    Attributes:
        numbers: the step after which each stood, from 1.
        residual: how far the update moved the state, float [A, N].
        value: the primary metric, float [A, N].
        answer: equal numbers for equal answers, int64 [A, N]; None where the task does not tell them apart.
    """

    numbers: list[int]
    residual: NDArray[np.float64]
    value: NDArray[np.float64]
    answer: NDArray[np.int64] | None


def followed(config: RunConfig, model: TaskModel, source: Source, seed: int = 0) -> Followed:
    """The answer after every update, from the draws of one seed; one that has halted stays as it is."""
    loop, task = model.backbone.arm.refinement, model.task
    cycle = loop.recursion.cycle
    updates = loop.steps_in_all // cycle
    states = task.embed(source.batch(torch.arange(1)))[0]
    size = max(1, min(config.training.evaluation_batch_size, AT_ONCE // (states.numel() * 8 * updates)))
    numbers = [cycle * (a + 1) for a in range(updates)]

    def look(prediction: Any, batch: Batch, trace: Trace) -> dict[str, Tensor]:
        assert trace.residuals is not None
        batch_size, metric = len(trace.steps), task.metric
        values, told = list[Tensor](), list[Tensor]()
        for number, hidden in zip(numbers, seen.states, strict=False):
            running = (trace.steps >= number).nonzero().flatten()
            part = {name: tensor[running] for name, tensor in batch.items()}
            then = task.read_out(model.backbone.norm(hidden), part)
            found = task.metrics(then, part)[metric].double()
            values.append(_put(values, found, running, batch_size))
            if answers(type(task)):
                told.append(_put(told, digests(task.answer(then, part)).to(running.device), running, batch_size))
        residuals = trace.residuals.double()
        kept = {"value": values, "residual": list(residuals), **({"answer": told} if told else {})}
        # A batch that has halted altogether stays as it is
        return {name: torch.stack(own + own[-1:] * (updates - len(own)), 1) for name, own in kept.items()}

    with following(model.backbone) as seen:
        result = score_on_device(config, model, source, size, seed=seed, look=look)
    looked = {name: values.numpy().T for name, values in result.looked.items()}
    return Followed(numbers, looked["residual"], looked["value"], looked.get("answer"))


def _put(before: list[Tensor], found: Tensor, running: Tensor, batch_size: int) -> Tensor:
    """What was found of the running examples, in a full batch; of the others it is what was before."""
    return found if len(running) == batch_size else before[-1].index_copy(0, running, found)


def store(path: Path, restart: Restart, key: Mapping[str, Any], more: Mapping[str, Any]) -> None:
    """Write a restart to `path`.npz and, when that is whole, to `path`.json; `key` says of what it is."""
    known = {name: getattr(restart, name) for name in ("steps", "residual", "halting", "answer", "valid")}
    arrays = {name: values for name, values in known.items() if values is not None}
    arrays |= {f"metric {name}": values for name, values in restart.metrics.items()}
    make_folder(path.parent)
    with writing(path.with_name(f"{path.name}.npz")) as out:
        np.savez(out, **arrays)
    write_json(path.with_name(f"{path.name}.json"), {"of": dict(key), "arrays": list(arrays), **more})


def stored(path: Path, key: Mapping[str, Any]) -> tuple[Restart, dict[str, Any]] | None:
    """What was written there of the same restart; None if nothing was, or it is damaged, or of another."""
    try:
        found = read_mapping(path.with_name(f"{path.name}.json"))
        if found.get("of") != dict(key):
            return None
        arrays = read_arrays(path.with_name(f"{path.name}.npz"), list(found.get("arrays", ())))
    except (InputError, TypeError):
        return None
    known = {name: values for name, values in arrays.items() if not name.startswith("metric ")}
    metrics = {name.removeprefix("metric "): values for name, values in arrays.items() if name.startswith("metric ")}
    if not {"steps", "residual"} <= known.keys() or not metrics:
        return None
    return Restart(metrics, **known), found
