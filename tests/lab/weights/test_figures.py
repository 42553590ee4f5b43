"""A model reaches what its card says, on a sample of its test set: the published ones, and a stand-in everywhere."""

from pathlib import Path

import pytest
import torch

import headwise
from headwise.errors import InputError
from headwise.lab.weights.measure import shortfalls
from headwise.models.checkpoint import read_config, save
from headwise.training.card import read_card
from headwise.training.loadable import GET, loadable
from headwise.training.packing import digest, pack
from tests.lab.weights.conftest import Made

MEBIBYTES = 20
EXAMPLES = {"maze-12": 24, "sudoku-9": 48, "parser-ewt-small": 300}
"""Examples on which a model is scored again, where 200 would take long."""


@pytest.mark.parametrize("name", ["maze-12", "sudoku-9", "parser-ewt-small", "walk", "facts-chat"])
def test_a_published_model_reaches_the_figures_of_its_card(name: str) -> None:
    place = loadable()[name][1]
    if place is None:
        pytest.skip(f"{name} is not on this machine ({GET})")
    card = read_card(place)
    assert card.weights == digest(place)
    assert card.parameters == sum(parameter.numel() for parameter in headwise.load(name).parameters())
    for figures in card.figures[:2]:
        try:
            found = shortfalls(place, figures, EXAMPLES.get(name, 200))
        except InputError as error:
            if "HEADWISE_DATA" not in str(error):
                raise
            pytest.skip(str(error))
        assert found == []


def test_the_published_models_are_small() -> None:
    places = [place for _, place in loadable().values() if place is not None]
    if not places:
        pytest.skip(f"no model is on this machine ({GET})")
    size = sum(file.stat().st_size for place in places for file in place.iterdir())
    assert size < MEBIBYTES * 2**20


def test_the_stand_in_reaches_the_figures_of_its_card(made: Made) -> None:
    for figures in read_card(made.model).figures:
        assert shortfalls(made.model, figures, 100) == []


def test_a_model_whose_weights_were_lost_misses_them(made: Made, tmp_path: Path) -> None:
    """The planted mistake: the card of one model beside the weights of another."""
    card, model = read_card(made.model), headwise.load(made.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    pack(made.run, tmp_path, card)
    save(tmp_path, model, read_config(made.model))
    (line,) = shortfalls(tmp_path, card.figures[0], 100)
    assert line.startswith("as trained: rank_tau is ")
    assert "the card says" in line
