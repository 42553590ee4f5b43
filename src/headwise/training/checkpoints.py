"""Checkpoints: written whole or not at all, two generations kept, never anything but tensors and plain values.

`checkpoints/last.ckpt` is the newest state, `previous.ckpt` the one before, `best.ckpt` the best on validation.
"""

import logging
import os
import pickle
import random
import shutil
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from headwise.errors import InputError
from headwise.training.callbacks import Validation
from headwise.training.module import HeadwiseModule
from headwise.training.recorder import Recorder
from headwise.training.stops import Interruption

FOLDER, LAST, PREVIOUS, BEST = "checkpoints", "last.ckpt", "previous.ckpt", "best.ckpt"
log = logging.getLogger("headwise")


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes under a temporary name in the same directory and renames; reads tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as out:
            torch.save(checkpoint, out)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        return read_checkpoint(Path(path))


class Checkpoints(Checkpoint):
    """Saves after each validation, and when the run is interrupted, then once the batch has had all its segments.

    Lightning calls callbacks of this base class last, so the state of the others is that of the finished update.
    """

    def __init__(self, folder: Path, validation: Validation, interruption: Interruption, recorder: Recorder) -> None:
        self.folder, self.validation, self.interruption, self.recorder = folder, validation, interruption, recorder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.interruption.listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        validated = self.validation.ran_at == trainer.global_step
        stopping = self.interruption.requested and self.recorder.batches.between
        if not validated and not stopping:
            return
        self.recorder.pause_clock()
        # A step that was not finite must not replace a good checkpoint: look before saving.
        cast(HeadwiseModule, pl_module).guard.look()
        fresh = self.folder / "next.ckpt"
        trainer.save_checkpoint(fresh)
        if validated and self.validation.best_update == trainer.global_step:
            # A copy, not a link: damage to one file must leave the other.
            temporary = self.folder / (BEST + ".tmp")
            shutil.copyfile(fresh, temporary)
            temporary.replace(self.folder / BEST)
        if (self.folder / LAST).exists():
            (self.folder / LAST).replace(self.folder / PREVIOUS)
        fresh.replace(self.folder / LAST)
        self.recorder.resume_clock()
        if stopping:
            trainer.should_stop = True


class RandomNumbers(Callback):
    """Saves and restores the states of the random number generators of torch, numpy and Python."""

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return random_state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not before: setting up a DataLoader draws from torch's generator.
        if self._restored is not None:
            set_random_state(self._restored)
            self._restored = None


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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, on the CPU.

    Raises:
        InputError: the file is missing, damaged, or holds a pickle payload, which is refused and never executed.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch's own reader does not compare checksums
            if damaged := archive.testzip():
                raise InputError(f"{path}: damaged ({damaged} does not match its checksum)")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: not found") from None
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
    if not isinstance(content, dict) or not {"state_dict", "loops", "optimizer_states"} <= content.keys():
        raise InputError(f"{path}: not a checkpoint of a run")
    return content


def newest_readable(folder: Path) -> Path:
    """The newest checkpoint in a run's `checkpoints` that can be read; says so if it is not the last one.

    Raises:
        InputError: there is none.
    """
    reasons = []
    for name in (LAST, PREVIOUS):
        path = folder / name
        try:
            read_checkpoint(path)
        except InputError as error:
            reasons.append(str(error))
            continue
        if reasons:
            log.warning("%s; using the previous good checkpoint %s", reasons[0], path)
        return path
    raise InputError(f"{folder.parent}: no checkpoint to resume from ({'; '.join(reasons)})")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
