"""From a recipe to a model with its card: what is trained and measured is kept, and nothing else is let through."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml

import headwise
from headwise.errors import InputError
from headwise.files import read_mapping, write_json
from headwise.lab.weights.make import finished, make
from headwise.lab.weights.measure import measure
from headwise.lab.weights.recipe import chosen
from headwise.training.card import CARD, README, read_card
from headwise.training.config import read
from tests.lab.weights.conftest import Made


def test_figures_of_the_card_are_those_of_an_evaluation(made: Made) -> None:
    card = read_card(made.model)
    assert [one.settings for one in card.figures] == [{}, {"arm.refinement.steps": 3}]
    for figures in card.figures:
        summary = headwise.evaluate(made.run, figures.settings)
        assert figures.examples == summary["test_examples"] == 400
        assert figures.metrics["rank_tau"].value == summary["metrics"]["rank_tau"]
    text = (made.model / README).read_text()
    assert f"{card.figures[0].metrics['rank_tau'].value:.4g} ± " in text
    assert card.command in text


def test_hugging_face_reads_the_figures_from_the_metadata_of_the_card(made: Made) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")
    data = hub.ModelCard.load(made.model / README).data
    assert (data.license, data.library_name) == ("apache-2.0", "headwise")
    found = {(one.dataset_name, one.metric_type): one.metric_value for one in data.eval_results}
    card = read_card(made.model)
    assert found == {
        ("sorting, as trained", "rank_tau"): card.figures[0].metrics["rank_tau"].value,
        ("sorting, three steps", "rank_tau"): card.figures[1].metrics["rank_tau"].value,
    }


def test_what_was_trained_and_measured_is_kept(made: Made) -> None:
    assert made.told == ["sorter: trains", "sorter: is measured as trained", "sorter: is measured three steps"]
    before = {file.name: file.read_bytes() for file in made.model.iterdir()}
    told: list[str] = []
    make(["sorter"], made.runs, made.output, tell=told.append)
    assert told == ["sorter: measured before"]
    assert {file.name: file.read_bytes() for file in made.model.iterdir()} == before


def test_figures_are_measured_anew_for_other_weights(made: Made, tmp_path: Path) -> None:
    """A card must never speak of weights that it was not measured on."""
    runs, output = _copied(made, tmp_path)
    weights = headwise.load(runs / "sorter")
    with torch.no_grad():
        for parameter in weights.parameters():
            parameter.zero_()
    from headwise.models.checkpoint import read_config, save

    save(runs / "sorter", weights, read_config(runs / "sorter"))
    told: list[str] = []
    card = make(["sorter"], runs, output, tell=told.append)["sorter"]
    assert "sorter: measured before" not in told
    assert card.figures[0].metrics["rank_tau"].value != made.card.figures[0].metrics["rank_tau"].value  # type: ignore[union-attr]


def test_a_model_is_that_of_its_run_wherever_it_was_trained(made: Made, tmp_path: Path) -> None:
    runs, output = _copied(made, tmp_path)
    for file in ("config.yaml", "model.json"):
        where = runs / "sorter" / file
        plain = yaml.safe_load(where.read_text())
        changed = plain["run"] if file == "model.json" else plain
        changed |= {"device": "cuda", "cache": "/elsewhere", "output": "/elsewhere/too"}
        changed["training"]["threads"] = 7
        write_json(where, plain)
    shutil.rmtree(output)
    make(["sorter"], runs, output)
    config = read(output / "sorter")
    assert (config.device, config.cache, config.output, config.training.threads) == ("auto", None, "runs", None)
    ours, theirs = headwise.load(output / "sorter").state_dict(), headwise.load(made.run).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_that_was_trained_otherwise_is_refused_with_the_setting(made: Made, tmp_path: Path) -> None:
    runs, output = _copied(made, tmp_path)
    config = runs / "sorter" / "config.yaml"
    config.write_text(config.read_text().replace("updates: 30", "updates: 29"))
    with pytest.raises(InputError, match=r"training\.updates is 29, the recipe of sorter has 30; train it anew"):
        make(["sorter"], runs, output)


def test_a_model_that_is_not_trained_is_refused_where_only_finished_ones_are_wanted(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished run of sorter; train it with: headwise train task=sorting"):
        make(["sorter"], tmp_path / "none", tmp_path / "models", only_finished=True)
    assert not (tmp_path / "models").exists()


def test_a_folder_with_one_run_in_it_stands_for_it_and_one_with_two_for_none(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.run, tmp_path / "sorter" / "first")
    assert finished(tmp_path / "sorter") == tmp_path / "sorter" / "first"
    shutil.copytree(made.run, tmp_path / "sorter" / "second")
    with pytest.raises(InputError, match="2 finished runs; leave the one that is meant"):
        finished(tmp_path / "sorter")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("metrics: [rank_tau]", "metrics: []"), "metrics: none"),
        (('as trained: ""', "as trained: seed=1"), 'the first must be those trained with, as trained: ""'),
        (("licence: Apache-2.0\n", ""), "licence: missing"),
        (("use:", "usage:"), "usage=.*unknown key"),
        (("task=sorting task", "'task=sorting task"), "No closing quotation"),
    ],
)
def test_a_damaged_recipe_is_named(
    change: tuple[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_once: Made
) -> None:
    text = (made_once.conf / "weights" / "sorter.yaml").read_text()
    assert change[0] in text
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "mine.yaml").write_text(text.replace(*change))
    monkeypatch.setenv("HEADWISE_CONF", str(tmp_path))
    with pytest.raises(InputError, match=message) as refused:
        chosen(["mine"])
    assert "mine.yaml" in str(refused.value)


def test_an_unknown_recipe_is_refused_with_the_one_that_is_meant() -> None:
    with pytest.raises(InputError, match=r"weights maze-21: no recipe of that name; .*did you mean maze-12"):
        chosen(["maze-21"])


def test_every_recipe_of_headwise_can_be_read_and_says_what_its_run_is() -> None:
    for name, recipe in chosen([]).items():
        config = headwise.configure(recipe.words)
        for each in recipe.settings:
            recipe.overrides(each, config)
        assert recipe.licence in ("Apache-2.0", "CC-BY-SA-4.0", "MIT"), name


def test_a_metric_that_the_task_has_not_is_refused(made: Made) -> None:
    with pytest.raises(InputError, match=r"no metric las of each example; there are .*rank_tau"):
        measure(made.run, "as trained", {}, ["las"])


def test_a_missing_or_damaged_card_is_one_line(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"card\.json: not found"):
        read_card(tmp_path)
    content = read_mapping(made.model / CARD)
    for changed, message in [
        ({"figures": [{"name": "x"}]}, "settings: missing"),
        ({"format": 99, "version": "9.1"}, "format 99, written by headwise 9.1"),
        ({"parameters": "many"}, "parameters"),
    ]:
        write_json(tmp_path / CARD, content | changed)
        with pytest.raises(InputError, match=message):
            read_card(tmp_path)


def _copied(made: Made, folder: Path) -> tuple[Path, Path]:
    shutil.copytree(made.runs, folder / "runs")
    shutil.copytree(made.output, folder / "models")
    return folder / "runs", folder / "models"
