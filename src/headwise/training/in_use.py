"""Whether a process is at work in the directory of a run, so that another does not remove it.

The directory itself is locked, with no file in it: the lock is gone with its process, however that ends. Processes of
this machine see it, those of others only where the file system hands locks on.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def used(directory: Path) -> Iterator[None]:
    """Inside the block the directory counts as in use. Several may use it; a file system without locks is none of
    our business."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


@contextlib.contextmanager
def unused(directory: Path) -> Iterator[bool]:
    """Whether nobody uses the directory; if so, nobody begins to inside the block without our knowing."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:  # no locks on this file system
            pass
        yield True
    finally:
        os.close(descriptor)


def in_use(directory: Path) -> bool:
    """Whether a process uses the directory now; False where it cannot be told."""
    try:
        with unused(directory) as free:
            return not free
    except OSError:
        return False
