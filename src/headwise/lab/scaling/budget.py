"""What it takes to train an arm at a size, before it is trained: memory and time.

Both come from a few real passes on this machine, with one and two blocks of the full width and two and three examples,
so that a model of 500 million parameters is never built. Memory grows linearly in blocks and in examples, so four
measurements give it for any number of either:

    bytes(d, b) = c + c_d·d + c_b·b + c_db·d·b          d blocks, b examples

and time follows the FLOP rate of the timed passes. An estimate of memory is good to `WITHIN`, of time to a factor of
two on a machine with nothing else to do.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from headwise.lab.scaling.memory import LiveBytes
from headwise.models.flops import flops_per_example
from headwise.models.precision import PRECISIONS, Precision, autocast
from headwise.tasks.base import Batch, TaskData, TaskModel
from headwise.tasks.examined import First
from headwise.training.building import build_model
from headwise.training.config import RunConfig
from headwise.training.machine import device_of
from headwise.training.memory import Memory, weights_memory
from headwise.training.objective import objective
from headwise.training.optim import optimizer_for
from headwise.training.scoring import score

WITHIN = 1.4
"""How many times its estimate a training process was found to take at most (docs/scaling.md has the cases): torch's
allocator and libraries hold more than the tensors that live."""
FEW = (2, 3)  # examples of a pass; a single one may be spared what a batch needs
TIMED_FLOPS = 4e9  # of a timed pass, a tenth of a second or two
FORWARD_AND_BACKWARD = 3  # times the FLOPs of a forward pass


@dataclass(frozen=True)
class Seconds:
    """Time of one update, of all of them, and of all validations and the test."""

    update: float
    training: float
    evaluation: float

    @property
    def run(self) -> float:
        return self.training + self.evaluation


def memory(config: RunConfig, data: TaskData, process: int = 0) -> Memory:
    """The memory that training `config` on `data` takes, measured on few blocks and examples.

    Args:
        process: see `process_memory`.
    """
    index = _first_batch(config, data)
    batch = data.split("train").batch(index)
    kept: dict[tuple[int, int], int] = {}
    most: dict[tuple[int, int], int] = {}
    scored: dict[tuple[int, int], int] = {}
    for depth in (1, 2):
        model = _shallow(config, data, depth)
        _score_bytes(model, data, FEW[0])  # what is made at the first call and kept belongs to no example
        for examples in FEW:
            kept[depth, examples], most[depth, examples] = _update_bytes(config, model, _rows(batch, examples))
            scored[depth, examples] = _score_bytes(model, data, examples)
    # What a checkpointed block computes again lives for one block at a time, so it does not grow with their number.
    again = max(0, (most[2, FEW[1]] - most[2, FEW[0]]) - (kept[2, FEW[1]] - kept[2, FEW[0]]))
    evaluated = min(config.training.evaluation_batch_size, max(len(data.split(s)) for s in ("validation", "test")))
    return replace(
        weights_memory(config, data.facts, process),
        activations=_extrapolated(kept, config.model.depth, len(index)) + again * len(index),
        evaluation=_extrapolated(scored, config.model.depth, evaluated),
    )


def seconds(config: RunConfig, data: TaskData, threads: int) -> Seconds:
    """The time that training `config` on `data` takes with so many threads, from timed passes of one block."""
    before, device = torch.get_num_threads(), device_of(config.device)
    torch.set_num_threads(threads)
    timed = partial(_timed, device=device, threads=threads)
    try:
        index, train = _first_batch(config, data), data.split("train")
        model = _shallow(config, data, 1).to(device)
        batch = {name: tensor.to(device) for name, tensor in train.batch(index).items()}
        length = model.task.embed(_rows(batch, 1))[0].shape[1]
        with torch.device("meta"):
            whole = build_model(config, data.facts)
        one, all_blocks = (flops_per_example(m.backbone, length) for m in (model, whole))
        examples = int(min(len(index), max(1, TIMED_FLOPS // (FORWARD_AND_BACKWARD * one))))
        rows = _rows(batch, examples)
        optimizer = optimizer_for(model, config.training.preset)

        def pass_both_ways(precision: Precision) -> None:
            torch.autograd.backward(_loss(config, model, rows, precision))

        chosen = config.training.precision
        precisions = PRECISIONS if chosen == "auto" else (chosen,)  # auto is whichever is faster
        passes = min(timed(partial(pass_both_ways, precision)) for precision in precisions)
        compute = passes / examples * all_blocks / one
        share = sum(p.numel() for p in whole.parameters()) / sum(p.numel() for p in model.parameters())
        step = timed(optimizer.step) * share
        update = timed(partial(train.batch, index)) + compute * len(index) + step
        test = First(data.split("test"), examples)
        scoring = timed(partial(score, model, test, examples)) / len(test) * all_blocks / one
        training = config.training
        validations = -(-training.updates // training.validate_every)
        scored = validations * len(data.split("validation")) + len(data.split("test"))
        return Seconds(update, training.updates * update, scored * scoring)
    finally:
        torch.set_num_threads(before)


def _first_batch(config: RunConfig, data: TaskData) -> Tensor:
    return data.split("train").plan(config.training.batch_size, config.seed, epoch=0, shuffle=True)[0]


def _rows(batch: Batch, number: int) -> Batch:
    """The first examples, padded as the whole batch is."""
    return {name: tensor[:number] for name, tensor in batch.items()}


def _shallow(config: RunConfig, data: TaskData, depth: int) -> TaskModel:
    torch.manual_seed(config.seed)
    return build_model(replace(config, model=replace(config.model, depth=depth)), data.facts).train()


def _loss(config: RunConfig, model: TaskModel, batch: Batch, precision: Precision) -> Tensor:
    weights = dict(config.training.losses) | {"entropy": config.training.entropy.value(0.5)}
    with autocast(next(model.parameters()).device, precision):
        return objective(model, batch, weights).loss


def _update_bytes(config: RunConfig, model: TaskModel, batch: Batch) -> tuple[int, int]:
    """Bytes that live between forward and backward pass, and the most that live in either."""
    model.zero_grad(set_to_none=True)
    live = LiveBytes([*model.parameters(), *model.buffers()])
    with live:
        # Under auto in full precision, which keeps more
        loss = _loss(config, model, batch, "bf16" if config.training.precision == "bf16" else "fp32")
        kept = live.now
        torch.autograd.backward(loss)
    return kept, live.peak


def _score_bytes(model: TaskModel, data: TaskData, examples: int) -> int:
    live = LiveBytes([*model.parameters(), *model.buffers()])
    with live:
        score(model, First(data.split("test"), examples), examples)
    return live.peak


def _extrapolated(measured: dict[tuple[int, int], int], depth: int, examples: int) -> int:
    """The bilinear function through the four corners (1 or 2 blocks, `FEW` examples)."""
    few, more = FEW
    one, two = (
        measured[d, few] + (examples - few) * (measured[d, more] - measured[d, few]) // (more - few) for d in (1, 2)
    )
    return max(0, one + (depth - 1) * (two - one))


def _timed(work: Callable[[], object], device: str, threads: int) -> float:
    """Seconds of the faster of two calls, after one that does not count.

    On the CPU these are of processor time, shared by the threads, so that other programs on the machine do not count.
    """
    on_cpu, times = device == "cpu", []
    clock = time.process_time if on_cpu else time.perf_counter
    for _ in range(3):
        began = clock()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((clock() - began) / (threads if on_cpu else 1))
    return min(times[1:])
