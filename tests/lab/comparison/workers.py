"""Stand-ins for training that run in worker processes, in a module that a process imports in little time."""

import os
import time
from pathlib import Path
from typing import Any

from headwise.errors import StorageError
from tests.lab.made_up import FakeTrain
from tests.processes import within

STARTED = 120.0  # seconds, on a machine with much else to do


class Endless(FakeTrain):
    """Says which process it is in, and trains until it is stopped."""

    def __call__(self, config: Any, *args: Any, **settings: Any) -> Path:
        settings["directory"].mkdir(parents=True)
        (settings["directory"] / "pid").write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)


class Full(FakeTrain):
    """Meets a full disk in the second run: with another process beside it, once the first run is over and the third
    has begun, which lasts until it is told to stop."""

    beside = False

    def __call__(self, config: Any, *args: Any, **settings: Any) -> Path:
        directory, run = settings["directory"], (config.name, config.seed)
        if run == ("baseline", 0):
            return super().__call__(config, *args, **settings)
        if run == ("looped", 0):
            others = directory.parents[1] / "baseline"
            assert not self.beside or within(STARTED, (others / "seed0" / "summary.json").exists)
            assert not self.beside or within(STARTED, (others / "seed1").exists)
            raise StorageError(f"{directory}: cannot be written (No space left on device)")
        directory.mkdir(parents=True)
        time.sleep(STARTED)
        return super().__call__(config, *args, **settings)
