"""A configuration as the command that trains it: typed again, it is the same configuration."""

import shlex

import pytest

from headwise.training import configuration
from headwise.training.command import PLACES, command_of, words_of

CASES = [
    ["task=sorting"],
    ["task=sorting", "arm=hrm", "task.length=7", "arm.controller.period=2", "seed=3"],
    ["task=sorting", "arm=hrm", "arm.halting=ponder", "training.preset=stable", "training.losses={ponder: 0.5}"],
    ["task=maze", "arm=looped", "task.read_out=next_cell", "training.ema=0.9", "training.loggers=[]"],
    ["task=sudoku_4", "arm=trm", "training.preset={name: stable, lr: 0.003}", "training.precision=bf16"],
    ["task=language", "arm=adaptive", "task.corpus=a folder/of, texts.txt", "task.pretraining=null"],
    ["task=walk", "arm=looped_gated", "arm.gate={name: top_k, k: 2}", "model.dropout=0.1"],
]


@pytest.mark.parametrize("words", CASES, ids=lambda words: words[0] + words[-1])
def test_the_command_trains_what_was_trained(words: list[str]) -> None:
    config = configuration.load([*words, "device=cpu", "output=elsewhere"])
    again = configuration.load(shlex.split(command_of(config))[2:])
    ours, theirs = (
        {key: value for key, value in each.to_plain().items() if key not in PLACES} for each in (config, again)
    )
    assert ours == theirs
    assert again.name == config.name


def test_what_is_as_it_always_is_goes_without_saying() -> None:
    config = configuration.load(["task=sorting", "arm=hrm", "task.length=7", "seed=3"])
    assert words_of(config) == ["task=sorting", "arm=hrm", "task.length=7", "seed=3"]
