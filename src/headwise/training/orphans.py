"""Processes that end with the one that started them, whatever happens to it."""

import os
import signal
import threading
import time

LOOK = 0.5  # seconds between looks at whether the parent still lives


def end_with(parent: int, grace: float = 0.0) -> None:
    """Have this process killed when its parent is gone: nobody waits for it, and a run goes on from its checkpoint.

    Args:
        parent: process id.
        grace: seconds that are left to end in good order.
    """
    threading.Thread(target=_watch, args=(parent, grace), daemon=True).start()


def _watch(parent: int, grace: float) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    time.sleep(grace)
    os.kill(os.getpid(), signal.SIGKILL)
