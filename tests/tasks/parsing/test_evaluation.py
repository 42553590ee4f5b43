"""Evaluating a parser on other sentences than those it was made for: only what the weights depend on may refuse."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headwise.errors import InputError
from headwise.models.sizes import ModelConfig
from headwise.tasks.parsing import ParsingConfig, ParsingData, ParsingTask
from headwise.tasks.parsing.pretrained import Pretrained
from headwise.tasks.parsing.scratch import Scratch
from headwise.training.config import RunConfig, TrainingConfig
from headwise.training.evaluation import evaluate, load
from headwise.training.run import train

TEXTS = ("dogs bark", "cats sleep here", "birds sing in the morning", "dogs sing")


def written(text: str, relation: str = "dep") -> str:
    """A sentence in which each word hangs on the one before it."""
    words = enumerate(text.split())
    return "".join(f"{i + 1}\t{word}\t_\t_\t_\t_\t{i}\t{relation if i else 'root'}\t_\t_\n" for i, word in words) + "\n"


def treebank(folder: Path, *texts: str) -> Path:
    folder.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (folder / f"xx-ud-{split}.conllu").write_text("".join(map(written, texts)))
    return folder


def trained(output: Path, bank: Path, encoder: object) -> Path:
    config = RunConfig(
        ParsingConfig(treebank=str(bank), encoder=encoder, arcs=4, labels=4),
        model=ModelConfig(width=8, heads=2, ffn=8),
        training=TrainingConfig(updates=2, batch_size=2, validate_every=2, loggers=()),
        output=str(output),
    )
    return train(config, progress=False)


@pytest.fixture(scope="module")
def parser(tmp_path_factory) -> Path:
    """Trained on a treebank that knows the relations dep and root, and shares all sentences between its splits."""
    folder = tmp_path_factory.mktemp("parser")
    small = Scratch(word=8, characters=8, hidden=8, layers=1)
    return trained(folder / "runs", treebank(folder / "bank", *TEXTS), small)


def test_another_test_file_is_scored_whatever_it_shares_with_training(parser, tmp_path):
    file = tmp_path / "other.conllu"
    file.write_text(written("fish swim") + written("cats bark"))
    assert evaluate(parser, {"task.test": str(file)})["test_examples"] == 2
    file.write_text(written(TEXTS[0]))
    assert evaluate(parser, {"task.test": str(file)})["test_examples"] == 1


def test_a_treebank_under_another_name_is_the_same_treebank(parser, tmp_path):
    bank = treebank(tmp_path / "elsewhere", *TEXTS)
    assert evaluate(parser, {"task.treebank": str(bank)}) == evaluate(parser)


def test_another_treebank_is_read_with_the_words_of_the_run(parser, tmp_path):
    bank = treebank(tmp_path / "other", "fish swim", "fish swim", "fish swim in the sea")
    before = load(parser).task.facts
    assert "fish" not in before["encoder"]["words"]
    assert evaluate(parser, {"task.treebank": str(bank)})["test_examples"] == 3


def test_relations_keep_the_numbers_that_they_have_in_the_run(parser, tmp_path):
    """A new one counts as wrong; it sorts before the others, so that numbering anew would take one for another."""
    file = tmp_path / "new.conllu"
    file.write_text(written("dogs bark") + written("dogs bark", "aaa"))
    run = load(parser).task
    data = ParsingData(replace(run.config, test=str(file)), seed=0)
    data.adopt(run.facts)
    assert run.facts["relations"] == ["dep", "root"]
    assert data.split("test").batch(torch.arange(2))["relations"].tolist() == [[1, 0], [1, -1]]
    assert evaluate(parser, {"task.test": str(file)})["test_examples"] == 2


def test_what_is_told_of_the_data_is_kept_beside_the_weights(parser):
    content = json.loads((parser / "model.json").read_text())
    assert content["notes"] == {"treebank": "bank", "synthetic": False, "overlap": {"validation": 4, "test": 4}}
    assert content["facts"].keys() == {"relations", "encoder"}


def test_an_encoder_of_another_kind_is_refused(parser):
    with pytest.raises(InputError, match=r"task\.encoder: the run was trained with an encoder of another kind"):
        ParsingTask(replace(load(parser).task.config, encoder=Pretrained()), load(parser).task.facts, 8)


def test_a_finetuned_encoder_is_evaluated_without_the_folder_it_came_from(tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "bert")
    run = trained(tmp_path / "runs", treebank(tmp_path / "bank", *TEXTS), Pretrained(str(tmp_path / "bert")))
    before = evaluate(run)
    shutil.rmtree(tmp_path / "bert")
    assert evaluate(run) == before
