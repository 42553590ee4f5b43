"""The runs in a folder and how each ended, from its records alone: nothing of it is loaded, so that hundreds are fast.

A run directory may be damaged, or somebody's own folder that only looks like one; it is then said to be broken.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headwise.errors import InputError
from headwise.files import MEBIBYTE, open_regular, parse_mapping, read_mapping, read_text, typed
from headwise.training.files import CONFIG, DATA, FAILURE, METRICS, PROGRESS, SUMMARY
from headwise.training.in_use import in_use

State = Literal["finished", "running", "interrupted", "diverged", "failed", "broken"]
STATES: tuple[State, ...] = ("finished", "running", "interrupted", "diverged", "failed", "broken")

DIVERGED = "TrainingDiverged"
"""What error.txt says of a run whose loss was no longer finite."""
REMOVING = ".removing-"
"""How the name of a run directory begins that is being removed."""

_OF_A_RUN = (SUMMARY, METRICS, CONFIG, DATA)
_TOP = re.compile(r"^(?P<key>\w+):(?: (?P<value>\S.*))?$", re.M)
_TASK = re.compile(r"^task:\n  name: (?P<name>\w+)$", re.M)
_TAIL = 65536  # bytes at the end of metrics.jsonl, in which its last lines lie


@dataclass(frozen=True)
class RunOnDisk:
    """A run directory as its records tell it; None for what they do not say.

    Attributes:
        directory: of the run.
        state: how it ended, or that it has not.
        task, arm, seed, quick: what was trained.
        updates: taken so far.
        value: of the metric on the test split.
        metric: its name.
        higher_is_better: of the metric.
        seconds: in updates.
        changed: when a record was last written, in seconds since 1970.
        reason: what is wrong with it, in a line; empty if nothing is.
    """

    directory: Path
    state: State
    changed: float
    task: str | None = None
    arm: str | None = None
    seed: int | None = None
    quick: bool | None = None
    updates: int | None = None
    value: float | None = None
    metric: str | None = None
    higher_is_better: bool = True
    seconds: float | None = None
    reason: str = ""


def run_directories(folder: Path) -> Iterator[Path]:
    """The directories of runs in a folder and in folders of it, in the order of their names; links are not followed,
    and what lies in a run directory is part of that run.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one in which the runs are")
    if is_run_directory(folder):
        yield folder
        return
    for path, names, _ in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in list(names):
            inside = Path(path, name)
            if not inside.is_symlink() and is_run_directory(inside):
                names.remove(name)
                yield inside


def is_run_directory(directory: Path) -> bool:
    """Whether there is anything of a run in this directory; a config.yaml alone, which others have too, has to be one
    of ours."""
    if (directory / SUMMARY).is_file() or (directory / METRICS).is_file():
        return True
    if not (directory / CONFIG).is_file():
        return False
    try:
        return (directory / DATA).is_file() or bool(_configured(directory))
    except InputError:
        return False


def read_run(directory: Path, locked: bool = False) -> RunOnDisk:
    """How the run in a directory ended, and its figures.

    Args:
        directory: of the run.
        locked: by this process, in `unused`; so no other uses it.
    """
    changed = _changed(directory)
    try:
        if not locked and in_use(directory):
            return RunOnDisk(directory, "running", changed, **_configured(directory), **_progress(directory))
        if (directory / SUMMARY).exists():
            return RunOnDisk(directory, "finished", changed, **_summarised(directory / SUMMARY))
        state: State = "interrupted"
        reason = ""
        if (directory / FAILURE).exists():
            said = read_text(directory / FAILURE, MEBIBYTE).strip()
            state, reason = "diverged" if DIVERGED in said else "failed", (said.splitlines() or [""])[-1]
        return RunOnDisk(directory, state, changed, **_configured(directory), **_progress(directory), reason=reason)
    except InputError as error:
        return RunOnDisk(directory, "broken", changed, reason=str(error))


def _summarised(file: Path) -> dict[str, Any]:
    found = read_mapping(file, MEBIBYTE * 16)
    value = None if found.get("value") is None else typed(found, "value", float, file)
    return {
        "task": typed(found, "task", str, file),
        "arm": typed(found, "arm", str, file),
        "seed": typed(found, "seed", int, file),
        "quick": bool(found.get("quick", False)),
        "updates": typed(found, "updates", int, file),
        "value": value if value is not None and math.isfinite(value) else None,
        "metric": typed(found, "metric", str, file),
        "higher_is_better": bool(found.get("higher_is_better", True)),
        "seconds": typed(found, "train_seconds", float, file),
    }


def _configured(directory: Path) -> dict[str, Any]:
    """What config.yaml says at its top, where headwise writes one line a key; reading all of it as YAML would take
    milliseconds a run.

    Raises:
        InputError: it is missing, or not the configuration of a run.
    """
    file = directory / CONFIG
    text = read_text(file, MEBIBYTE)
    top = {found["key"]: found["value"] for found in _TOP.finditer(text)}
    task = _TASK.search(text)
    seed = top.get("seed") or ""
    if not {"task", "arm", "model", "training", "name"} <= top.keys() or task is None or not seed.isdecimal():
        raise InputError(f"{file}: not the configuration of a run")
    name = (top["name"] or "").strip("'\"")
    return {"task": task["name"], "arm": name, "seed": int(seed), "quick": top.get("quick") == "true"}


def _progress(directory: Path) -> dict[str, Any]:
    """Updates and seconds by the last whole training line of metrics.jsonl; none yet where there is no such line."""
    file = directory / METRICS
    if not file.exists():
        return {"updates": 0}
    with open_regular(file) as lines:
        lines.seek(max(0, os.fstat(lines.fileno()).st_size - _TAIL))
        whole = lines.read(_TAIL).decode(errors="replace").split("\n")[:-1]
    for line in reversed(whole):
        if '"split": "train"' in line:
            found = parse_mapping(line, str(file))
            return {"updates": typed(found, "update", int, file), "seconds": typed(found, "seconds", float, file)}
    return {"updates": 0}


def _changed(directory: Path) -> float:
    """When a record of the run was last written."""
    names = (*_OF_A_RUN, FAILURE, PROGRESS, "checkpoints")
    times = [os.lstat(directory / name).st_mtime for name in names if (directory / name).exists()]
    return max(times, default=os.lstat(directory).st_mtime)


def plain(run: RunOnDisk) -> Mapping[str, Any]:
    """A run as plain JSON."""
    return {**vars(run), "directory": str(run.directory)}
