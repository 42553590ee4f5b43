"""The published "13 % -> 100 % UAS from one learning rate", reproduced: the stuck parser had no optimiser.

The original trained a baseline and a routed parser side by side with one optimiser, made for the baseline's parameters,
on sentences in which every word's head is the word before. `pytest -s` on this file prints the figures.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import HRMConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.gates import TopK
from headwise.routing.routers import LearnedRouter
from headwise.tasks.base import TaskModel
from headwise.tasks.parsing import ParsingConfig, ParsingData, ParsingTask
from headwise.tasks.parsing.scratch import Scratch
from headwise.training.config import ROUTING_LOSSES
from headwise.training.objective import objective
from headwise.training.optim import OptimizerMismatchError, Uniform, check_optimizer, optimizer_for
from headwise.training.scoring import score

SHAPE = ModelConfig(width=32, heads=4, ffn=64)
POINTER = Arm(
    LearnedRouter("token"), TopK(2), controller=HRMConfig(period=2), refinement=RefinementConfig(3, injection="input")
)
EPOCHS = 10
UNIFORM = Uniform(lr=5e-3)
WEIGHTS = ROUTING_LOSSES | {"entropy": 0.0}


def chain(words: int, names: np.random.Generator) -> str:
    lines = [
        f"{i}\tw{names.integers(40)}\t_\tX\t_\t_\t{i - 1}\t{'dep' if i > 1 else 'root'}\t_\t_"
        for i in range(1, words + 1)
    ]
    return "\n".join(lines) + "\n\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ParsingData:
    folder, rng = tmp_path_factory.mktemp("chains"), np.random.default_rng(0)
    files = {}
    for split, sentences in {"train": 256, "validation": 32, "test": 64}.items():
        files[split] = str(folder / f"{split}.conllu")
        Path(files[split]).write_text("".join(chain(int(rng.integers(6, 14)), rng) for _ in range(sentences)))
    encoder = Scratch(word=16, characters=16, hidden=32, layers=1)
    return ParsingData(ParsingConfig(encoder=encoder, arcs=32, labels=16, **files), seed=0)


def parser(data: ParsingData, arm: Arm) -> TaskModel:
    torch.manual_seed(0)
    return TaskModel(ParsingTask(data.config, data.facts, SHAPE.width), Backbone(SHAPE, arm))


def train(data: ParsingData, models: list[TaskModel], optimizers: list[torch.optim.Optimizer]) -> list[float]:
    """UAS on the test sentences after a loop that is the original's: both losses backwards, each optimiser steps."""
    source = data.split("train")
    for epoch in range(EPOCHS):
        for index in source.plan(16, 0, epoch, shuffle=True):
            batch = source.batch(index)
            for model in models:
                objective(model.train(), batch, WEIGHTS).loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            for model in models:
                model.zero_grad()
    return [score(model, data.split("test"), 64).means()["uas"] for model in models]


def test_one_optimiser_for_two_models_leaves_the_second_where_it_was(data):
    models = [parser(data, Arm()), parser(data, POINTER)]
    untrained = score(models[1], data.split("test"), 64).means()["uas"]
    shared = optimizer_for(models[0], UNIFORM)
    baseline, pointer = train(data, models, [shared])
    print(
        f"\none optimiser for two models: baseline {baseline:.1%} UAS, pointer {pointer:.1%}, untrained {untrained:.1%}"
    )
    assert baseline > 0.99
    assert pointer == pytest.approx(untrained)
    assert pointer < 0.3
    with pytest.raises(OptimizerMismatchError, match=r"untrained .* belong to another model"):
        check_optimizer(shared, models[1])


def test_with_an_optimiser_of_its_own_one_uniform_rate_is_enough(data):
    model = parser(data, POINTER)
    (pointer,) = train(data, [model], [optimizer_for(model, UNIFORM)])
    print(f"\nan optimiser of its own, one rate for all: pointer {pointer:.1%} UAS")
    assert pointer > 0.99


def test_attaching_to_the_previous_word_solves_the_published_data(data):
    assert data.references_by_metric(data.split("test"))["uas"]["previous_word"].mean().item() == pytest.approx(1.0)
