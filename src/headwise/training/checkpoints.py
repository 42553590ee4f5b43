"""Checkpoints: written whole or not at all, two generations kept, never anything but tensors and plain values.

`checkpoints/last.ckpt` is the newest state, `previous.ckpt` the one before, `best.ckpt` the best on validation.
"""

import logging
import pickle
import random
import shutil
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headwise.errors import InputError
from headwise.files import make_folder, open_regular, typed, writing
from headwise.provenance import check_format
from headwise.training.files import BEST, LAST, PREVIOUS

KEYS = frozenset({"update", "model", "average", "optimizer", "batches", "recorder", "validation", "random"})
FORMAT = 1
"""Number of the format; rises when an earlier headwise would resume wrongly. The first had no number."""
log = logging.getLogger("headwise")


def write_checkpoint(folder: Path, content: dict[str, Any], best: bool) -> None:
    """Make `content` the newest checkpoint in `folder`, the newest the previous one, and with `best` the best, too.

    Raises:
        StorageError: there is no space; what was there before is untouched.
    """
    make_folder(folder)
    fresh = folder / "next.ckpt"
    try:
        with writing(fresh) as out:
            torch.save({"format": FORMAT, "version": metadata.version("headwise"), **content}, out)
        if best:
            # A copy, not a link: damage to one file must leave the other.
            with open_regular(fresh) as source, writing(folder / BEST) as out:
                shutil.copyfileobj(source, out)
        if (folder / LAST).exists():
            (folder / LAST).replace(folder / PREVIOUS)
        fresh.replace(folder / LAST)
    finally:
        fresh.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Raises:
        InputError: the file is missing, damaged, or holds a pickle payload, which is refused and never executed.
    """
    try:
        with open_regular(path) as file:
            with zipfile.ZipFile(file) as archive:  # torch's own reader does not compare checksums
                if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                    raise InputError(f"{path}: damaged or not a checkpoint (a part of it is compressed)")
                if damaged := archive.testzip():
                    raise InputError(f"{path}: damaged ({damaged} does not match its checksum)")
            file.seek(0)
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch raises this for a forbidden object and for a garbled stream alike.
        cause = "it holds objects other than tensors and plain values" if "Unsupported" in str(error) else "damaged"
        raise InputError(f"{path}: refused, {cause}; nothing in it was executed") from None
    except InputError:
        raise
    except zipfile.BadZipFile:
        raise InputError(f"{path}: damaged, truncated or not a checkpoint") from None
    except Exception as error:  # whatever else a damaged archive makes the readers raise
        raise InputError(f"{path}: damaged or truncated ({_first_line(error)})") from None
    if isinstance(content, dict) and "pytorch-lightning_version" in content:
        raise InputError(
            f"{path}: written by an earlier version of headwise, which this one does not continue; start the run again"
        )
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a checkpoint of a run")
    check_format(content, path, FORMAT, unnumbered=True)
    if missing := sorted(KEYS - content.keys()):
        raise InputError(f"{path}: not a checkpoint of a run ({missing[0]} is missing)")
    if typed(content, "update", int, path) < 0:
        raise InputError(f"{path}: update is {content['update']}, expected 0 or more")
    return content


def newest_readable(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint in a run's `checkpoints` that can be read; says so if it is not the last one.

    Returns:
        The file and its content; None where the run has not come as far as to its first.

    Raises:
        InputError: there are some, but none that can be read.
    """
    reasons: list[str] = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        if not path.exists() and not reasons:
            continue
        try:
            content = read_checkpoint(path)
        except InputError as error:
            reasons.append(str(error))
            continue
        if reasons:
            log.warning("%s; using the previous good checkpoint %s", reasons[0], path)
        elif name != LAST:
            log.warning("%s: not found; using the previous good checkpoint %s", folder / LAST, path)
        return path, content
    if not reasons:
        return None
    raise InputError(f"{folder.parent}: no checkpoint to resume from ({'; '.join(reasons)})")


def random_state() -> dict[str, Any]:
    """The states of all generators as tensors and plain values."""
    kind, keys, *rest = np.random.get_state()
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, torch.tensor(internal), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """The reverse of `random_state`; states of devices that are not there are left out."""
    torch.set_rng_state(state["torch"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    if "cuda" in state and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
