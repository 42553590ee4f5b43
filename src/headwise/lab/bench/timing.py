"""Timing of things that are compared: they take turns within a round, so that the machine's mood cancels out."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar

ROUNDS = 9
_quick = ContextVar("quick", default=False)


@contextlib.contextmanager
def cut_down(quick: bool) -> Iterator[None]:
    """Inside the block, if `quick`, one round is all that is timed."""
    token = _quick.set(quick)
    try:
        yield
    finally:
        _quick.reset(token)


def alternate(
    parts: list[Callable[[], None]],
    calls: int = 2,
    rounds: int = ROUNDS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Seconds per call of each part, per round; the parts take turns within a round."""
    for part in parts:
        part()
    times: list[list[float]] = [[] for _ in parts]
    for _ in range(1 if _quick.get() else rounds):
        for part, own in zip(parts, times, strict=True):
            start = clock()
            for _ in range(calls):
                part()
            own.append((clock() - start) / calls)
    return times
