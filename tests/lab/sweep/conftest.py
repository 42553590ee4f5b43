"""Sweeps without training: each run gets made-up values on validation and test examples, by setting and seed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwise.lab.report.write import write_report
from headwise.lab.sweep.plan import choose
from headwise.lab.sweep.space import Space, read_space
from headwise.lab.sweep.sweep import sweep
from headwise.training import configuration
from headwise.training.config import RunConfig
from tests.lab.conftest import FakeTrain

WORDS = ["task=sorting", "task.length=12", "task.test_examples=50", "task.validation_examples=10", "arm=hrm"]
WORDS += ["task.reference_examples=4", "training.updates=40", "model.width=64", "model.heads=4", "device=cpu"]
PERIOD, STEPS = "arm.controller.period=2,3,4", "arm.refinement.steps=6,9"
JITTER = (0.000, 0.004, -0.003, 0.001, -0.002, 0.003)
"""By seed, the same for all settings, as seeds are paired; each run has a little of its own besides."""


@dataclass
class SweepTrain:
    """Leaves runs whose values follow from their configuration.

    Attributes:
        value: of a configuration on test examples; `JITTER` is added.
        validation: likewise on validation examples; default the same.
        failing: (setting, seed) that raise.
        calls: (setting, seed) in their order.
    """

    value: Callable[[RunConfig], float]
    validation: Callable[[RunConfig], float] | None = None
    failing: frozenset[tuple[str, int]] = frozenset()
    calls: list[tuple[str, int]] = field(default_factory=list)

    def __call__(
        self, config: RunConfig, resume: Path | None = None, *, directory: Path | None = None, progress: bool = True
    ) -> Path:
        self.calls.append((config.name, config.seed))
        own = np.random.default_rng([config.seed, *config.name.encode()]).normal(0, 0.0005)
        jitter = JITTER[config.seed % len(JITTER)] + float(own)
        scores = {config.name: dict.fromkeys([config.seed], self.value(config) + jitter)}
        path = FakeTrain(scores, self.failing)(config, resume, directory=directory, progress=progress)  # type: ignore[arg-type]
        score = (self.validation or self.value)(config) + jitter
        line = {"update": config.training.updates, "epoch": 0, "split": "validation", "rank_tau": score}
        (path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        return path


def by_period(config: RunConfig) -> float:
    """The longer the better, with steps or without."""
    period = config.arm.controller.slow_period
    return 0.40 if period is None else 0.20 + 0.02 * period


def by_both(config: RunConfig) -> float:
    """Main effects of both keys and their product: 0.01 (period - 3) + 0.005 (steps - 6) + 0.01 their product."""
    period, steps = (config.arm.controller.slow_period or 0) - 3, (config.arm.refinement.steps - 6) / 3
    return 0.3 + 0.01 * period + 0.015 * steps + 0.01 * period * steps


loaded = cache(lambda words: configuration.load(words))


@pytest.fixture(autouse=True)
def _loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """To put the same files together again and again takes most of the time, and has tests of its own."""
    monkeypatch.setattr("headwise.lab.sweep.space.load", lambda words: loaded(tuple(words)))


@cache
def space_of(*words: str, name: str | None = None) -> Space:
    return read_space([*WORDS, *words], name)


def run(output: Path, train: Any, words: Sequence[str] = (PERIOD,), seeds: int = 3, **how: Any) -> dict[str, Any]:
    """The grid of these words."""
    space = space_of(*words)
    chosen = choose(space, "grid", None, seeds, 0, 500)
    return sweep(space, chosen, seeds, **{"output": output, "jobs": 1, "train": train, **how})


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished sweep of two keys with its page; only to be read."""
    directory = tmp_path_factory.mktemp("sweep")
    run(directory, SweepTrain(by_both), (PERIOD, STEPS))
    write_report(directory)
    return directory


def close(value: float) -> Any:
    """Equal but for the jitter of three seeds."""
    return pytest.approx(value + float(np.mean(JITTER[:3])), abs=0.003)
