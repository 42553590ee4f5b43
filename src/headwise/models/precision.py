"""fp32 or bf16: whichever takes a step in less time on the machine at hand.

Whether bf16 is faster depends on processor, build and size: with instructions for it alone it took four times as long
as fp32 at width 64, with matrix tiles half as long. So it is timed, once, at the shape in question.
"""

import functools
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, get_args

import torch

Precision = Literal["fp32", "bf16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
GAIN = 0.9
"""bf16 is chosen below this share of fp32's time: its rounding costs something, so a tie goes to fp32."""


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Attributes:
        precision: the choice.
        seconds: of one step, the median, by precision.
    """

    precision: Precision
    seconds: dict[Precision, float]

    def __str__(self) -> str:
        """One line for a log."""
        each = ", ".join(f"{name} {1e3 * seconds:.3g} ms" for name, seconds in self.seconds.items())
        return f"precision={self.precision}: a step takes {each}"


def measure(
    step: Callable[[Precision], object], device: torch.device | str = "cpu", repeats: int = 3, most: float = 10.0
) -> Choice:
    """Time a step in each precision, in turns, and choose.

    torch's random numbers are afterwards what they were. Whatever else a step changes is its own business: one that
    trains runs forward and backward and no optimiser, and its gradients are to be dropped.

    Args:
        step: runs once in the precision that it is given (`autocast`).
        device: it runs on; waited for at both ends.
        repeats: timed steps of each precision after one to warm up; default 3, so that the median ignores an outlier.
        most: seconds after which no further round begins; the first, timed one always runs.
    """
    device = torch.device(device)
    begun = time.perf_counter()
    times: dict[Precision, list[float]] = {precision: [] for precision in PRECISIONS}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for precision in PRECISIONS:
            _seconds(step, precision, device)
        for _ in range(max(1, repeats)):
            for precision, own in times.items():
                own.append(_seconds(step, precision, device))
            if time.perf_counter() - begun > most:
                break
    return chosen({precision: statistics.median(own) for precision, own in times.items()})


def chosen(seconds: dict[Precision, float]) -> Choice:
    """The choice by the seconds of a step."""
    return Choice("bf16" if seconds["bf16"] < GAIN * seconds["fp32"] else "fp32", seconds)


def autocast(device: torch.device | str, precision: Precision) -> AbstractContextManager[object]:
    """Mixed precision as `precision` says: matrix products in bf16, or everything as it is."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


@functools.cache
def recurrent_in_bf16(device: str) -> bool:
    """Whether an LSTM runs in bf16 on a kind of device; oneDNN has none for processors without AVX-512."""
    with torch.device(device):
        x, state = torch.zeros(1, 1, 1), (torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))
        weights = [torch.zeros(4, 1), torch.zeros(4, 1), torch.zeros(4), torch.zeros(4)]
    try:
        with torch.no_grad(), autocast(device, "bf16"):
            torch.lstm(x, state, weights, True, 1, 0.0, False, False, True)
    except RuntimeError:
        return False
    return True


def _seconds(step: Callable[[Precision], object], precision: Precision, device: torch.device) -> float:
    _wait(device)
    begun = time.perf_counter()
    step(precision)
    _wait(device)
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
