"""Evaluating a language model on another text: it is read with the run's own tokens, or refused for what it lacks."""

import json
from pathlib import Path

import pytest

from headwise.errors import InputError
from headwise.models.sizes import ModelConfig
from headwise.tasks.language import LanguageConfig, LanguageData
from headwise.training.config import RunConfig, TrainingConfig
from headwise.training.evaluation import evaluate
from headwise.training.run import train

TEXT = "the dog saw a cat and a cat saw the dog " * 8


def corpus(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    config = RunConfig(
        LanguageConfig(corpus=corpus(folder / "one.txt", TEXT), tokenizer="character", context=8, held_out=0.4),
        model=ModelConfig(width=8, heads=2, ffn=8),
        training=TrainingConfig(updates=2, batch_size=2, validate_every=2, loggers=()),
        output=str(folder / "runs"),
    )
    return train(config, progress=False)


def test_another_text_is_read_with_the_characters_of_the_run(run, tmp_path):
    """It has fewer of them, so that numbers given anew would be others."""
    other = corpus(tmp_path / "two.txt", "cat " * 60)
    facts = json.loads((run / "model.json").read_text())["facts"]
    data = LanguageData(LanguageConfig(corpus=other, tokenizer="character", context=8, held_out=0.4), seed=0)
    assert data.facts["vocabulary"] == 4 < facts["vocabulary"]
    data.adopt(facts)
    first = data.split("test").batch(next(iter(data.split("test").plan(1, 0, 0, False))))
    assert data.tokenizer.decode(first["tokens"][0].tolist()).replace(" ", "").startswith(("cat", "at", "t"))
    assert int(first["tokens"].max()) >= 4
    assert evaluate(run, {"task.corpus": other})["test_examples"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task.corpus": "zebra " * 60}, r"unknown characters 'z', 'b', 'r'; the model knows 12 characters"),
        ({"task.context": 9}, r"task.context=9: examples of 9 tokens, the run was trained on at most 8; choose"),
        ({"task.tokenizer": "word"}, r"task.tokenizer=word: the run has character; leave it as it was"),
    ],
)
def test_what_the_weights_do_not_fit_is_refused(run, changes, message, tmp_path):
    if "task.corpus" in changes:
        changes = {"task.corpus": corpus(tmp_path / "three.txt", changes["task.corpus"])}
    with pytest.raises(InputError, match=message) as caught:
        evaluate(run, changes)
    assert "\n" not in str(caught.value)


def test_what_is_told_of_the_data_is_kept_beside_the_weights(run):
    content = json.loads((run / "model.json").read_text())
    assert content["notes"] == {"synthetic": False}
    assert "synthetic" not in content["facts"]
