"""Memory: what this machine has, and what training a model takes at least, said before anything is built."""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from headwise.errors import InputError, OutOfMemoryError
from headwise.training.building import build_model
from headwise.training.config import RunConfig
from headwise.training.machine import device_of

PROCESS = Path("/proc/self")  # of Linux; elsewhere only the peak of a whole process is known
GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

LIBRARIES = 200 * 2**20  # what a process that trains loads besides those that plan: TensorBoard, say
BLOCK_OBJECTS = 80 * 2**10  # Python's objects in a block and in its optimiser, measured on 3000 narrow ones
WORDS = 200_000  # vectors of width D that an embedder and a read-out have at most, where a model clearly fits


def capacity(device: str = "cpu") -> int:
    """Bytes that programs on this machine can have: of the accelerator, or the least of the physical memory, the limit
    of the container and the limits of the process."""
    if device == "cuda":
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in GROUP_LIMITS:
        with suppress(OSError, ValueError):  # no such group, or "max"
            limits.append(int(file.read_text(encoding="utf-8")))
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    return min(limits)


def resident() -> int:
    """Bytes of memory that this process holds now (where that cannot be read, the most that it ever held)."""
    with suppress(OSError):
        return status("VmRSS")
    return highest()


def status(key: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in (PROCESS / "status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {key} in {PROCESS / 'status'}")


def highest() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


@dataclass(frozen=True)
class Memory:
    """Bytes of training one model.

    Attributes:
        parameters, gradients, optimizer: of the whole model, embedding and read-out included.
        activations: what one update keeps for its backward pass, and computes again there.
        evaluation: the most that scoring one batch takes.
        checkpoint: the best weights with their optimiser state, read back at the end beside those that are there.
        process: what the process holds before any of it, and Python's objects of the blocks.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int
    evaluation: int
    checkpoint: int
    process: int

    @property
    def peak(self) -> int:
        """The most at any one time."""
        kept = self.parameters + self.gradients + self.optimizer
        return self.process + kept + max(self.activations, self.evaluation, self.checkpoint)


def process_memory(device: str) -> int:
    """What a process holds before it builds a model; nothing of an accelerator's memory. Ask before measuring."""
    return resident() + LIBRARIES if device == "cpu" else 0


def weights_memory(config: RunConfig, facts: dict[str, Any], process: int = 0) -> Memory:
    """`Memory` without what depends on the batch: nothing is built or run for it.

    Blocks of one shape take the same, so that one and two of them, on the meta device, stand for any number.

    Raises:
        InputError: numbers of parameters beyond what can be counted.
    """
    one, two = (_weights(config, facts, depth) for depth in (1, 2))
    blocks = config.model.depth * config.arm.refinement.recursion.stacks
    held, trained = (a + (config.model.depth - 1) * (b - a) for a, b in zip(one, two, strict=True))
    return Memory(held, trained, 2 * trained, 0, 0, held + 2 * trained, process + BLOCK_OBJECTS * blocks)


def check_memory(config: RunConfig, facts: dict[str, Any]) -> None:
    """Refuse a model whose weights, gradients and optimiser state this machine has no memory for.

    Processes that shard a model build it whole, but train their part of it: there the weights alone are asked about.

    Raises:
        InputError: with the number of parameters, the memory that they take and the memory that there is.
    """
    device = device_of(config.device)
    room = capacity(device)
    if _clearly_fits(config, room):
        return
    need = weights_memory(config, facts, process_memory(device))
    kept = need.parameters + (0 if config.training.shard else need.gradients + need.optimizer) + need.process
    if kept <= room:
        return
    model = config.model
    raise InputError(
        f"model (width={model.width}, ffn={model.ffn}, depth={model.depth}): its {need.parameters // 4 / 1e6:,.1f} "
        f"million parameters take {kept / 1e9:,.1f} GB with gradients and optimiser state, this machine has "
        f"{room / 1e9:,.1f} GB; choose a smaller model.width, model.ffn or model.depth"
    )


@contextlib.contextmanager
def memory_named(config: RunConfig) -> Iterator[None]:
    """Inside the block a lack of memory becomes one line.

    Raises:
        OutOfMemoryError: with what to make smaller.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in text:
            raise
        training = config.training
        raise OutOfMemoryError(
            f"out of memory ({' '.join(text.split())[:120] or 'none left'}); choose a smaller training.batch_size "
            f"({training.batch_size}), training.evaluation_batch_size ({training.evaluation_batch_size}) or model, or "
            "more training.accumulate"
        ) from None


def _clearly_fits(config: RunConfig, room: int) -> bool:
    """Whether a model takes so little that nobody need build it to see: on the meta device, too, the first of a process
    loads what takes as long as torch itself."""
    model = config.model
    each = 4 * model.width**2 + 3 * model.width * model.ffn  # with SwiGLU, the largest
    blocks = model.depth * config.arm.refinement.recursion.stacks * each
    around = WORDS * model.width
    return 16 * (blocks + around) < room / 4  # weight, gradient and two moments, 4 bytes each


def _weights(config: RunConfig, facts: dict[str, Any], depth: int) -> tuple[int, int]:
    """Bytes of all weights and buffers, and of those that are trained, of a model with so many blocks."""
    try:
        with torch.device("meta"):
            model = build_model(replace(config, model=replace(config.model, depth=depth)), facts)
    except RuntimeError as error:  # numbers of elements beyond 64 bits
        raise InputError(
            f"model (width={config.model.width}, ffn={config.model.ffn}): more parameters than can be counted "
            f"({' '.join(str(error).split())[:80]}); choose smaller ones"
        ) from None
    held = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    return held, sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
