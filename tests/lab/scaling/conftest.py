"""A stand-in for training that knows sizes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from headwise.lab.comparison.parity import measure
from headwise.lab.scaling.scale import scale
from headwise.training.config import RunConfig
from headwise.training.memory import weights_memory
from tests.lab.conftest import SCORES, FakeTrain, run_config

ARMS = [(name, run_config(name)) for name in ("baseline", "hrm")]
GIB = 2**30
counted = cache(measure)


@dataclass
class SizedTrain:
    """As `FakeTrain`, but remembers the size of each run, and stops where it is told to.

    Attributes:
        calls: (size, arm, seed, "new" or "resume") in their order.
        stopping: (size, arm, seed) at which Ctrl-C comes, with a checkpoint written.
    """

    stopping: tuple[str, str, int] | None = None
    failing: frozenset[tuple[str, int]] = frozenset()
    calls: list[tuple[str, str, int, str]] = field(default_factory=list)

    def __call__(
        self, config: RunConfig, resume: Path | None = None, *, directory: Path | None = None, progress: bool = True
    ) -> Path:
        path = resume or directory
        assert path is not None
        size = path.parents[2].name
        self.calls.append((size, config.name, config.seed, "resume" if resume else "new"))
        if (size, config.name, config.seed) == self.stopping:
            (path / "checkpoints").mkdir(parents=True)
            (path / "checkpoints" / "last.ckpt").write_bytes(b"...")
            raise KeyboardInterrupt
        return FakeTrain(SCORES, self.failing)(config, resume, directory=directory, progress=progress)


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements and counting the same shapes again are slow and have tests of their own."""
    monkeypatch.setattr(
        "headwise.lab.scaling.plan.memory", lambda config, data, process: weights_memory(config, data.facts, process)
    )
    monkeypatch.setattr("headwise.lab.scaling.budget.TIMED_FLOPS", 1e7)
    monkeypatch.setattr("headwise.lab.comparison.parity.measure", counted)


def run(output: Path, train: Callable[..., Path], names: tuple[str, ...] = ("baseline", "hrm"), **settings: Any) -> Any:
    arms = [(name, run_config(name)) for name in names]
    return scale(arms, **{"sizes": ["tiny", "small"], "output": output, "jobs": 1, "train": train, **settings})
