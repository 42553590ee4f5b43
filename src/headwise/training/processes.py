"""Several processes that share each batch: started by torchrun, or here on one machine.

What an update sees is a function of (seed, epoch, global batch) and never of the number of processes: each computes a
part of the batch, and whatever is a statistic of the batch is summed over processes before it is used.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from headwise.errors import InputError, StorageError, in_a_line
from headwise.training.divergence import TrainingDiverged
from headwise.training.files import resume_command
from headwise.training.interruption import TrainingInterrupted
from headwise.training.orphans import end_with

GRACE = 10.0  # seconds that the others have to end when one process has died
ORPHANED = 3.0  # seconds that they have to save when the process that started them has died
LONGEST_WAIT = timedelta(minutes=30)  # for another process that is at an analysis, say, before it counts as lost
DIRECTORY = "directory"
EXPECTED = (InputError, StorageError, TrainingDiverged, TrainingInterrupted)


class ProcessLostError(RuntimeError):
    """One of the processes of a run ended before the run did.

    Attributes:
        how: what happened.
        directory: of the run, where it has one; it can be resumed.
    """

    def __init__(self, how: str, directory: Path | None = None) -> None:
        self.how, self.directory = how, directory
        super().__init__(how + (f"; continue with: {resume_command(directory)}" if directory else ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.how, self.directory)


_to_parent: Any = None  # the queue to the process that started this one


@dataclass(frozen=True)
class Processes:
    """This process among those that share each batch; alone by default.

    Attributes:
        rank: number of this one, from 0. The first writes the run's files.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes and reports."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """`value` summed over processes."""
        if self.count > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether it is set in any process. Costs an accelerator nothing: the flags travel by the CPU."""
        if self.count == 1:
            return flags
        noted = torch.tensor(flags, dtype=torch.int32, device="cpu")
        distributed.all_reduce(noted, op=distributed.ReduceOp.MAX)
        return tuple(map(bool, noted.tolist()))

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.any(False)

    def gather(self, value: Any) -> list[Any]:
        """The plain values or CPU tensors of all processes, in each of them."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, value)
        return found

    def of_first(self, make: Callable[[], Any]) -> Any:
        """What `make` returns in the first process, in all; an error of its own is raised in all."""
        if self.count == 1:
            return make()
        outcome: list[Any] = [None, None]
        if self.first:
            try:
                outcome[0] = make()
            except EXPECTED as error:
                outcome[1] = error
        distributed.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def shared(self, step: nn.Module, unused: bool) -> nn.Module:
        """`step` with its gradients averaged over processes after each backward pass.

        Args:
            step: a module whose forward pass ends in the loss.
            unused: whether an update may leave parameters without gradient.
        """
        if self.count == 1 or any(hasattr(parameter, "full_tensor") for parameter in step.parameters()):
            return step  # alone, or sharded, where gradients are averaged as they come
        # Buffers are written between updates, alike in all processes. The argument's name depends on torch's version.
        known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
        buffers: dict[str, Any] = {
            "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
        }
        return nn.parallel.DistributedDataParallel(step, find_unused_parameters=unused, **buffers)

    def sharded(self, model: nn.Module, parts: Sequence[nn.Module]) -> None:
        """Split weights, gradients and optimiser state of `model` over processes (FSDP), in place.

        Args:
            model: the whole.
            parts: of it, put together one at a time when they are used; the rest is one part more.
        """
        from torch.distributed.fsdp import fully_shard

        for part in (*parts, model):
            fully_shard(part)

    def reducing(self, step: nn.Module, now: bool) -> AbstractContextManager[None]:
        """Inside the block a backward pass averages gradients if it is `now` that they are complete."""
        if now or not isinstance(step, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return step.no_sync()


@contextlib.contextmanager
def unsharded(model: nn.Module) -> Iterator[None]:
    """Inside the block the methods of a sharded model can be called as those of any other, its forward pass apart."""
    if not hasattr(model, "unshard"):
        yield
        return
    model.unshard()  # type: ignore[operator]
    try:
        yield
    finally:
        model.reshard()  # type: ignore[operator]


def launched() -> bool:
    """Whether torchrun started this process."""
    return distributed.is_available() and distributed.is_torchelastic_launched()


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Inside the block this process works with the others of its group, if it was started as one of several."""
    if distributed.is_available() and distributed.is_initialized():  # by `launch`, or by the program around us
        yield Processes(distributed.get_rank(), distributed.get_world_size())
        return
    if not launched():
        yield Processes()
        return
    rank, count, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    with _group(device, rank, count, "env://", local):
        yield Processes(distributed.get_rank(), distributed.get_world_size())


def launch(count: int, device: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function(*arguments)` in so many processes on this machine; what the first returns.

    SIGINT and SIGTERM are passed on to them; when this process dies, they end as if interrupted, and within seconds.

    Args:
        count: processes.
        device: of the run, as `cpu` or `cuda`; each process takes a CUDA device of its own.
        function, arguments: picklable; the function of a module.

    Raises:
        ProcessLostError: a process was killed or crashed; the others have ended.
        InputError, StorageError, TrainingDiverged, TrainingInterrupted: the function's own.
    """
    from torch.multiprocessing.spawn import ProcessExitedException, start_processes

    messages = multiprocessing.get_context("spawn").SimpleQueue()
    received: dict[int | str, Any] = {}

    def receive() -> None:
        while not messages.empty():
            received.__setitem__(*messages.get())

    threads = max(1, torch.get_num_threads() // count)  # this process may itself have a share of the cores only
    with tempfile.TemporaryDirectory(prefix="headwise-") as folder:
        meeting = f"file://{folder}/meeting"
        context = start_processes(  # type: ignore[no-untyped-call]
            _enter,
            (os.getpid(), count, threads, meeting, device, function, arguments, messages),
            nprocs=count,
            join=False,
        )
        with _passing_on_signals(context.pids()):
            try:
                while not context.join(timeout=0.2, grace_period=GRACE):
                    receive()
            except ProcessExitedException as error:
                receive()
                raise ProcessLostError(_how_it_ended(error, count), received.get(DIRECTORY)) from None
        receive()
    outcome = next(received[rank] for rank in range(count) if rank in received)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def announce(directory: Path) -> None:
    """Tell the process that started this one where the run is written."""
    if _to_parent is not None:
        _to_parent.put((DIRECTORY, directory))


def _enter(
    rank: int,
    parent: int,
    count: int,
    threads: int,
    meeting: str,
    device: str,
    function: Callable[..., Any],
    arguments: Any,
    messages: Any,
) -> None:
    """Be process `rank` of a run: join the others, call the function, and report what came of it."""
    global _to_parent
    _to_parent = messages
    end_with(parent, ORPHANED)  # torch has them interrupted, too
    os.setpgrp()  # Ctrl-C in a terminal reaches the parent alone, which passes it on once
    torch.set_num_threads(threads)
    try:
        with _group(device, rank, count, meeting, local=rank):
            messages.put((rank, function(*arguments)))
    except EXPECTED as error:
        messages.put((rank, error))
    except ProcessLostError:
        pass  # the parent sees which one died
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)  # all is said: whatever goes wrong while the interpreter is taken down is no loss of the run


@contextlib.contextmanager
def _group(device: str, rank: int, count: int, method: str, local: int) -> Iterator[None]:
    """Inside the block the processes have met; `local` numbers those of this machine, of which each has its own GPU.

    Whatever holds the group after the block holds its threads, too, and one that returns a tensor to an interpreter
    that is ending aborts the process. So models are collected first, and a module of torch that `nn.parallel` needs and
    that keeps the group of the moment for a default argument is imported before there is one.
    """
    importlib.import_module("torch.distributed.nn")
    if device == "cuda":
        torch.cuda.set_device(local)
    if method.startswith("file") and (loopback := _loopback()):  # all on this machine
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, method, LONGEST_WAIT, world_size=count, rank=rank)
    try:
        with _losses_named():
            yield
    finally:
        gc.collect()
        distributed.destroy_process_group()


def _loopback() -> str:
    """Name of the interface on which a machine talks to itself: its host name may not resolve."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "")


@contextlib.contextmanager
def _losses_named() -> Iterator[None]:
    """Turns the errors of a broken connection into `ProcessLostError`."""
    try:
        yield
    except (distributed.DistError, RuntimeError) as error:
        text = str(error)
        if isinstance(error, EXPECTED) or not any(word in text.lower() for word in ("gloo", "nccl", "peer", "socket")):
            raise
        raise ProcessLostError(f"another process of this run was lost ({in_a_line(error)})") from None


@contextlib.contextmanager
def _passing_on_signals(pids: list[int]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(number: int, frame: Any) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _how_it_ended(error: Any, count: int) -> str:
    code = error.exit_code
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"process {error.error_index} of {count} was {how}" if code < 0 else f"process {error.error_index} {how}"
