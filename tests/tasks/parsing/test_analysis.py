"""The analysis of a trained parser: official scores, floors beside them, and the sentence that is drawn."""

import json
import re
from pathlib import Path

import pytest
import torch

from headwise import cli
from headwise.lab.report.write import write_report
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.gates import TopK
from headwise.routing.routers import LearnedRouter
from headwise.tasks.base import TaskModel
from headwise.tasks.parsing import ParsingConfig, ParsingData, ParsingTask
from headwise.tasks.parsing.analysis import analyse, chosen
from headwise.tasks.parsing.scratch import Scratch
from headwise.tasks.parsing.sentences import Sentence, parse_lines
from headwise.training import run
from headwise.training.config import RunConfig, TrainingConfig
from headwise.training.evaluation import evaluate
from headwise.training.scoring import score

CONFIG = ParsingConfig(encoder=Scratch(word=8, characters=8, hidden=8, layers=1), arcs=8, labels=6, train_sentences=60)
SHAPE = ModelConfig(width=16, heads=4, ffn=24, depth=2)
ROUTED = Arm(router=LearnedRouter(), gate=TopK(k=2), refinement=RefinementConfig(steps=3, injection="input"))


@pytest.fixture(scope="module")
def data() -> ParsingData:
    return ParsingData(CONFIG, seed=0)


def model_of(data: ParsingData, arm: Arm) -> TaskModel:
    torch.manual_seed(0)
    model = TaskModel(ParsingTask(CONFIG, data.facts, SHAPE.width), Backbone(SHAPE, arm))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def found(data):
    with torch.no_grad():
        return analyse(model_of(data, ROUTED), data, data.split("test"))


def table(found, title: str) -> dict[str, list]:
    """Rows by their first cell."""
    (one,) = (one for one in found["tables"] if one["title"].startswith(title))
    assert all(len(row) == len(one["columns"]) for row in one["rows"])
    return {first: rest for first, *rest in one["rows"]}


def test_it_is_plain_json(found):
    assert json.loads(json.dumps(found)) == found


def test_its_scores_are_the_means_that_training_measures_and_exact_where_those_are(data, found):
    """Two ways to count: sentence by sentence weighted by words, and all words of the split at once."""
    means = score(model_of(data, ROUTED), data.split("test"), 50).means()
    for name in ("uas", "las", "ucm", "lcm"):
        assert found["metrics"][name] == pytest.approx(means[name], abs=1e-6), name
    assert found["metrics"]["clas"] == pytest.approx(means["clas"], abs=0.02)
    assert table(found, "Scores")["model"] == [found["metrics"][name] for name in ("uas", "las", "clas", "ucm", "lcm")]


def test_floors_stand_beside(data, found):
    """Every word to the one before it, the first to the root, counted by hand."""
    heads = [head - place for s in data.split("test").sentences for place, head in enumerate(s.heads, start=1)]
    # The first word's previous one is the root, whose number is 0 as well
    previous = sum(offset == -1 for offset in heads) / len(heads)
    rules = table(found, "Scores")
    assert rules["previous word"][0] == pytest.approx(previous, abs=1e-6)
    assert {"previous word", "next word", "majority offset"} <= rules.keys()


def test_parts_add_up_to_the_whole(data, found):
    words = sum(len(s.forms) for s in data.split("test").sentences)
    scores = table(found, "Scores")["model"]
    for title, places in (("By length", {"UAS": 2, "LAS": 3}), ("By relation", {"UAS": 1, "LAS": 2})):
        rows = table(found, title).values()
        assert sum(row[0] for row in rows) == words
        for place, name in enumerate(("UAS", "LAS")):
            mean = sum(row[0] * row[places[name]] for row in rows) / words
            assert mean == pytest.approx(scores[place], abs=1e-6), (title, name)


def test_what_the_splits_share_is_counted_and_generated_sentences_are_called_so(data, found):
    overlap = data.treebank.overlap
    shared = table(found, "Sentences that are in training")
    assert shared == {name: [overlap[name], len(data.split(name))] for name in ("validation", "test")}
    assert found["tables"][0]["caption"].startswith("On generated sentences")


@pytest.mark.parametrize(("arm", "steps"), [(ROUTED, 3), (Arm(), 0)])
def test_the_drawing_shows_the_gates_of_each_step(data, arm, steps):
    with torch.no_grad():
        (figure,) = analyse(model_of(data, arm), data, data.split("test"))["figures"]
    assert len(re.findall("refinement step", figure["svg"])) == steps
    assert ("gate of each head in the last of 2 blocks" in figure["caption"]) == bool(steps)
    assert figure["svg"].startswith("<svg")


def tree(length: int, where: int, relation: str = "dep") -> Sentence:
    heads = (0, *range(1, length))
    return Sentence(("word",) * length, heads, ("root", *(relation,) * (length - 1)), f"x:{where}")


def test_the_sentence_drawn_is_the_first_of_moderate_length_with_a_mistake():
    gold = [tree(5, 1), tree(13, 2), tree(14, 3), tree(12, 4), tree(30, 5)]
    wrong = [tree(len(s.forms), 9, "nsubj") for s in gold]
    right_but_for_subtype = [tree(len(s.forms), 9, "dep:x") for s in gold]
    assert chosen(gold, wrong) == 1
    assert chosen(gold, [gold[0], gold[1], *wrong[2:]]) == 2
    assert chosen(gold, [wrong[0], right_but_for_subtype[1], *wrong[2:]]) == 2
    assert chosen(gold, [wrong[0], *right_but_for_subtype[1:4], wrong[4]]) == 1, "all right: the first of that length"
    assert chosen([tree(3, 1), tree(9, 2), tree(40, 3)], [tree(3, 1), tree(9, 2), tree(40, 3)]) == 1


@pytest.mark.parametrize(("length", "place"), [(11, 0), (12, 1), (20, 1), (21, 0)])
def test_moderate_is_from_12_to_20_words(length, place):
    assert chosen([tree(13, 1), tree(length, 2)], [tree(13, 1), tree(length, 2, "nsubj")]) == place


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RunConfig(
        task=CONFIG,
        model=ModelConfig(width=16, heads=4, ffn=24),
        training=TrainingConfig(updates=3, batch_size=8, validate_every=3, loggers=()),
        device="cpu",
        output=str(tmp_path_factory.mktemp("runs")),
    )
    return run.train(config, progress=False)


def test_a_run_keeps_its_analysis_and_evaluating_it_gives_the_same(trained):
    kept = json.loads((trained / "analysis.json").read_text(encoding="utf-8"))
    summary = json.loads((trained / "summary.json").read_text(encoding="utf-8"))
    assert kept["metrics"].items() <= summary["metrics"].items()
    assert summary["value"] == pytest.approx(kept["metrics"]["las"], abs=1e-6)
    assert evaluate(trained)["metrics"] == pytest.approx(summary["metrics"], abs=1e-6)


def test_its_page_shows_the_sentence_and_its_parser_parses(trained, tmp_path, capsys):
    page = write_report(trained).read_text(encoding="utf-8")
    for shown in ("A closer look at the test examples", "One sentence", "previous word", "By relation"):
        assert shown in page
    text = tmp_path / "in.txt"
    text.write_text("the dog saw a cat .\n", encoding="utf-8")
    assert cli.main(["parse", str(trained), str(text)]) == 0
    (parsed,) = parse_lines(capsys.readouterr().out.split("\n"), "out")
    assert parsed[1].forms == ("the", "dog", "saw", "a", "cat", ".")
