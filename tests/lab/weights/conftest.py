"""A recipe of seconds, and the model that is made of it."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headwise.lab.weights.make import make
from headwise.training.card import Card

RECIPE = """# sorts six numbers, for the tests
train: >-
  task=sorting task.length=6 task.train_examples=200 task.validation_examples=50 task.test_examples=400 arm=looped
  arm.refinement.steps=2 model.width=16 model.heads=2 model.ffn=16 training.updates=30 training.validate_every=15
  training.batch_size=16 training.loggers=[]
metrics: [rank_tau]
settings:
  as trained: ""
  three steps: arm.refinement.steps=3
licence: Apache-2.0
data: Numbers that headwise draws.
use: headwise evaluate sorter
"""


@dataclass
class Made:
    """What `headwise weights` made of the recipe.

    Attributes:
        conf: folder of the recipe, for HEADWISE_CONF.
        runs, output: folders of the runs and of the models.
        card: of the model.
        told: what was said while it was made.
    """

    conf: Path
    runs: Path
    output: Path
    card: Card | None = None
    told: list[str] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.runs / "sorter"

    @property
    def model(self) -> Path:
        return self.output / "sorter"


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The stand-in for a published model; not to be changed."""
    folder = tmp_path_factory.mktemp("weights")
    made = Made(folder / "conf", folder / "runs", folder / "models")
    (made.conf / "weights").mkdir(parents=True)
    (made.conf / "weights" / "sorter.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HEADWISE_CONF", str(made.conf))
        made.card = make(["sorter"], made.runs, made.output, tell=made.told.append)["sorter"]
    return made


@pytest.fixture
def made(made_once: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    """The same, with its recipe and its model to be found by name."""
    monkeypatch.setenv("HEADWISE_CONF", str(made_once.conf))
    monkeypatch.setenv("HEADWISE_WEIGHTS", str(made_once.output))
    return made_once
