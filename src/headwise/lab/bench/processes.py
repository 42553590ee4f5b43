"""What a second process brings: updates per second of a run that several share on one machine, one thread each."""

import tempfile
from dataclasses import replace
from pathlib import Path

from headwise.training.building import reproducible
from headwise.training.config import RunConfig
from headwise.training.configuration import load
from headwise.training.fit import fit
from headwise.training.processes import joined, launch
from headwise.training.start import build

ROUNDS = 3
SETTINGS = (
    "task=sorting",
    "arm=looped",
    "task.validation_examples=64",
    "training.updates=60",
    "training.validate_every=60",
    "training.batch_size=128",
    "training.threads=1",
    "training.loggers=[]",
    "device=cpu",
)


def updates_per_second(count: int) -> float:
    """Rate of so many processes, in the fastest of a few runs of a looped transformer on sorting; validation apart."""
    rates: list[float] = [launch(count, "cpu", _rate, load(list(SETTINGS))) for _ in range(ROUNDS)]
    return max(rates)


def _rate(config: RunConfig) -> float:
    with joined("cpu") as processes, reproducible(config), tempfile.TemporaryDirectory() as folder:
        data, model = build(config)
        mine = replace(config, output=folder)
        fitted = fit(mine, model, data, Path(folder), False, False, processes)
        return fitted.updates / fitted.seconds
