"""Files that a task's commands write: whether they can be, said before the work is done."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from headwise.errors import InputError


def check_place(key: str, path: Path, endings: Sequence[str]) -> None:
    """Whether a new file may be written there; `key` is the setting that names it. Leaves nothing behind.

    Raises:
        InputError: as for `check_new`, or a folder that cannot be made or written.
    """
    check_new(key, path, endings)
    there = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    try:
        # Permissions do not tell: root has them all, and a file system may be read-only.
        os.rmdir(tempfile.mkdtemp(dir=there))
    except OSError as error:
        raise InputError(f"{key}={path}: cannot be written: {there}: {error.strerror or error}") from error


def check_new(key: str, path: Path, endings: Sequence[str]) -> None:
    """Whether a file of that name may come to be; `key` is the setting that names it.

    Raises:
        InputError: a name without one of the endings, or a file that exists.
    """
    if path.suffix not in endings:
        raise InputError(f"{key}={path}: choose a name that ends in {' or '.join(endings)}")
    if os.path.lexists(path):
        raise InputError(f"{key}={path}: exists; choose another name, or remove it first")
