"""Memory: what a process took at most, and how many bytes of tensors live at a time."""

import weakref
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from headwise.training.memory import PROCESS, highest, status


class Peak:
    """The most memory that this process, or the accelerator it uses, held inside a `with` block, in `bytes`.

    On the CPU without Linux's /proc it is the most since the process began.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.bytes = 0

    def __enter__(self) -> "Peak":
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            with suppress(OSError):
                (PROCESS / "clear_refs").write_text("5", encoding="ascii")  # sets VmHWM back to VmRSS
        return self

    def __exit__(self, *_: object) -> None:
        if self.device == "cuda":
            self.bytes = int(torch.cuda.max_memory_allocated())
            return
        try:
            self.bytes = status("VmHWM")
        except OSError:
            self.bytes = highest()


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every tensor storage that is made inside the block, from the operation that makes it to its end.

    So it sees what autograd keeps for the backward pass, what activation checkpointing does not keep and computes
    again, and temporaries between operations; not those within one operation.

    Args:
        known: tensors that are not to be counted: parameters, whose views come out of operations too.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._sizes = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return out

    def _follow(self, storage: torch.UntypedStorage) -> None:
        address = storage._cdata
        if address not in self._sizes:
            self._sizes[address] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, address).atexit = False

    def _forget(self, address: int) -> None:
        self.now -= self._sizes.pop(address)
