"""Small runs for the doctor, trained once; only to be read."""

from pathlib import Path

import pytest

from headwise.training.configuration import load
from headwise.training.run import train

SHAPE = ["model.width=16", "model.heads=4", "model.ffn=16", "model.depth=1", "training.loggers=[]", "device=cpu"]
RECIPE = ["training.validate_every=15", "training.log_every=5", "training.batch_size=16", "training.preset.lr=0.01"]
SORTING = ["task=sorting", "task.length=5", "task.mask_rate=0.2", "task.train_examples=200", "task.test_examples=50"]
SORTING += ["task.validation_examples=50", "task.reference_examples=20"]


def small_run(folder: Path, *words: str) -> Path:
    return train(load([*SHAPE, *RECIPE, *words]), directory=folder, progress=False)


@pytest.fixture(scope="session")
def sorting_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sorting with a top-k router under a controller, trained until its loss has fallen by far."""
    words = ["arm=pointer", "training.updates=90", *SORTING]
    return small_run(tmp_path_factory.mktemp("doctor") / "sorting", *words)


@pytest.fixture(scope="session")
def language_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal model."""
    words = ["task=language", "task.context=24", "arm=linear", "training.updates=30"]
    return small_run(tmp_path_factory.mktemp("doctor") / "language", *words)
