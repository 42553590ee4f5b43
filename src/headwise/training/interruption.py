"""Interruption: a signal asks a run to stop; it does between updates, with everything saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headwise.training.files import resume_command


class TrainingInterrupted(KeyboardInterrupt):
    """A signal ended the run; the one in `directory` continues with `resume`.

    Attributes:
        directory: of the run.
        update: the last one taken, or None where the interrupt came in the middle of one.
    """

    def __init__(self, directory: Path, update: int | None = None) -> None:
        self.directory, self.update = directory, update
        after = "" if update is None else f" after update {update}"
        super().__init__(f"stopped{after}; continue with: {resume_command(directory)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.directory, self.update)


class Interruption:
    """Turns the first SIGINT or SIGTERM into a flag that is read between updates.

    A signal may arrive in the middle of an optimiser step, where weights are half old and half new; at the end of the
    update, or of the last one on the same batch, all is in order and can be saved. A second signal interrupts at once.
    """

    def __init__(self) -> None:
        self.requested = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for the signals inside the block; does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
