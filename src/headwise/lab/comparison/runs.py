"""One run of a comparison: trained once, resumed from its checkpoint if interrupted, tried again if it failed."""

import shutil
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from headwise.errors import InputError, StorageError
from headwise.files import make_folder, write_text
from headwise.lab.records import is_run, readable_mapping
from headwise.training.config import RunConfig
from headwise.training.files import CHECKPOINTS, FAILURE, LAST, SUMMARY
from headwise.training.identity import OtherDataError


class Train(Protocol):
    """As `headwise.training.run.train`: trains one configuration, or resumes a run, and returns its directory."""

    def __call__(
        self, config: RunConfig, resume: Path | None = None, *, directory: Path | None = None, progress: bool = True
    ) -> Path: ...


@dataclass(frozen=True)
class PlannedRun:
    """An arm with a seed, to be trained in `directory`; `size` says which one where arms have several."""

    label: str
    seed: int
    config: RunConfig
    directory: Path
    size: str = ""

    @property
    def finished(self) -> bool:
        return bool(readable_mapping(self.directory / SUMMARY))

    @property
    def begun(self) -> bool:
        """Whether it has been trained, be it to a failure or in part."""
        return is_run(self.directory) or (self.directory / FAILURE).is_file()

    @property
    def name(self) -> str:
        return f"{self.size} {self.label}, seed {self.seed}".strip()


def train_run(run: PlannedRun, train: Train, threads: int | None = None) -> str | None:
    """Train one run; the error in one line if it failed, with the traceback in `error.txt` beside what it wrote.

    Raises:
        StorageError: there is no space, which concerns the runs beside it as well.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        _train(run, train)
    except StorageError:
        raise
    except Exception as error:
        make_folder(run.directory)
        write_text(run.directory / FAILURE, traceback.format_exc())
        return f"{type(error).__name__}: {error}".splitlines()[0]
    (run.directory / FAILURE).unlink(missing_ok=True)
    return None if run.finished else f"the run ended without {SUMMARY}"


def _train(run: PlannedRun, train: Train) -> None:
    if (run.directory / CHECKPOINTS / LAST).is_file():
        try:
            train(run.config, run.directory, progress=False)
            return
        except OtherDataError:
            raise
        except InputError:  # no checkpoint of it can be used; what it held comes again from the seed
            pass
    if run.begun:
        shutil.rmtree(run.directory)
    train(run.config, directory=run.directory, progress=False)
