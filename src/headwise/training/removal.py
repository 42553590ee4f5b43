"""Removing what runs have left: whole run directories, or the checkpoints of finished ones.

What is removed is named here, and nothing else is touched: a directory with a file that no run writes is left as it is.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headwise.errors import InputError
from headwise.files import writes_to
from headwise.training.files import (
    ANALYSIS,
    CHECKPOINTS,
    CONFIG,
    DATA,
    FAILURE,
    METRICS,
    PROFILE,
    PROGRESS,
    ROUTING,
    SUMMARY,
    TEST_VALUES,
)
from headwise.training.in_use import unused
from headwise.training.on_disk import REMOVING, RunOnDisk, read_run

DAY = 86400.0
ENTRIES = frozenset(
    {
        *(ANALYSIS, CHECKPOINTS, CONFIG, DATA, FAILURE, METRICS, PROFILE, PROGRESS, ROUTING, SUMMARY, TEST_VALUES),
        *("model.json", "model.safetensors", "memory.json", "model.onnx", "report.html", "show.html", "tensorboard"),
        *("thinking", "wandb"),
    }
)
"""Everything that training, and commands on a finished run, write into its directory."""
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.\d+\.tmp")


@dataclass(frozen=True)
class Removable:
    """Something that a run has left and that may go.

    Attributes:
        path: a run directory, or the checkpoints in one.
        why: in a few words.
        size: in bytes on the disk.
        run: as it was when this was found.
    """

    path: Path
    why: str
    size: int
    run: RunOnDisk | None


def removable(run: RunOnDisk, days: float, checkpoints: bool) -> Removable | None:
    """What of a run may go: all of it where it is a quick try, has diverged or failed, or was interrupted `days` ago;
    with `checkpoints` those of a finished one. None where nothing may."""
    age = (time.time() - run.changed) / DAY
    why = ""
    if run.state == "interrupted" and (age >= days or run.quick):
        why = "a quick try, interrupted" if run.quick else f"interrupted {age:.0f} days ago"
    elif run.state in ("diverged", "failed"):
        why = run.state
    elif run.state == "finished" and run.quick:
        why = "a quick try"
    if why:
        return Removable(run.directory, why, size(run.directory), run)
    folder = run.directory / CHECKPOINTS
    if checkpoints and run.state == "finished" and folder.is_dir() and not folder.is_symlink():
        return Removable(folder, "checkpoints of a finished run", size(folder), run)
    return None


def foreign(directory: Path) -> list[str]:
    """Names in a run directory that are not of a run, in order."""
    names = sorted(os.listdir(directory))
    temporary = {name: found["name"] for name in names if (found := _TEMPORARY.fullmatch(name))}
    known = {name for name in names if name.startswith(REMOVING)} | ENTRIES
    return [name for name in names if temporary.get(name, name) not in known]


def half_removed(folder: Path) -> Iterator[Removable]:
    """What is left of directories whose removal was interrupted."""
    for path, names, _ in os.walk(folder):
        for name in sorted(names):
            inside = Path(path, name)
            if name.startswith(REMOVING) and not inside.is_symlink() and not _others(inside):
                yield Removable(inside, "its removal was interrupted", size(inside), None)
        names[:] = [name for name in names if not name.startswith(".")]


def _others(directory: Path) -> list[str]:
    """Names in what is left of a removal that are neither of a run nor checkpoints."""
    return [name for name in foreign(directory) if not name.endswith(".ckpt")]


def remove(found: Removable) -> str | None:
    """Remove it; why it was kept, if it was.

    The directory first gets another name, at once, so that an interrupt leaves either a whole run or none.

    Raises:
        StorageError: the place does not let it.
    """
    if found.run is None:
        with writes_to(found.path):
            shutil.rmtree(found.path)
        return None
    try:
        with unused(found.run.directory) as free:
            if not free:
                return "in use"
            if _figures(read_run(found.run.directory, locked=True)) != _figures(found.run):
                return "changed meanwhile"
            gone = found.path.with_name(f"{REMOVING}{found.path.name}")
            with writes_to(found.path):
                found.path.rename(gone)
        with writes_to(gone):
            shutil.rmtree(gone)
    except FileNotFoundError:
        return "gone already"
    except (NotADirectoryError, InputError) as error:
        return str(error)
    return None


def size(folder: Path) -> int:
    """Bytes that what is in a folder takes on the disk; links are not followed."""
    total = 0
    for path, names, files in os.walk(folder):
        for name in (*names, *files):
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
    return total


def _figures(run: RunOnDisk) -> tuple[object, ...]:
    return run.changed, run.updates, run.value
