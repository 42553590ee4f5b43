"""The two ends of the model and its metrics: laws that concern the task, and figures against independent ones."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.checkpoint import load_weights, save
from headwise.models.roles import parameters_by_role
from headwise.models.sizes import ModelConfig
from headwise.routing.gates import TopK
from headwise.routing.routers import LearnedRouter
from headwise.tasks import entry
from headwise.tasks.base import TaskModel
from headwise.tasks.language import LanguageConfig, LanguageData, LanguageTask
from headwise.tasks.language.generate import GenerationConfig, continuation
from headwise.training.objective import objective

SHAPE = ModelConfig(width=32, heads=4, ffn=64, depth=2)
ROUTED = Arm(router=LearnedRouter("token"), gate=TopK(2))


def model_of(data: LanguageData, arm: Arm = ROUTED, shape: ModelConfig = SHAPE, causal: bool = True) -> TaskModel:
    """A model away from its start, in evaluation mode."""
    torch.manual_seed(0)
    task = LanguageTask(data.config, data.facts, shape.width)
    model = TaskModel(task, Backbone(shape, arm, causal=causal)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def scores_of(model: TaskModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model.task.read_out(model(batch).states[-1], batch)


def synthetic(**settings) -> LanguageData:
    return LanguageData(LanguageConfig(**settings), seed=0)


def test_the_task_is_causal_and_a_lower_loss_is_better():
    assert LanguageTask.causal
    assert LanguageTask.metric == "loss"
    assert not LanguageTask.higher_is_better
    assert entry("language").task is LanguageTask


def depends_on_the_future(model: TaskModel, batch: dict[str, torch.Tensor], place: int = 7) -> bool:
    changed = batch["tokens"].clone()
    changed[:, place:] = (changed[:, place:] + 1) % model.task.facts["vocabulary"]
    before, after = (scores_of(model, {**batch, "tokens": tokens}) for tokens in (batch["tokens"], changed))
    assert not torch.allclose(before[:, place:], after[:, place:], atol=1e-5)
    return not torch.allclose(before[:, :place], after[:, :place], atol=1e-5)


def test_no_score_depends_on_later_tokens():
    data = synthetic()
    batch = data.split("test").batch(torch.arange(6))
    assert not depends_on_the_future(model_of(data), batch)
    assert depends_on_the_future(model_of(data, causal=False), batch), "the planted leak is seen"


def test_an_example_depends_neither_on_padding_nor_on_its_batch():
    data = synthetic()
    source, model = data.split("test"), model_of(data)
    together = source.batch(torch.arange(8))
    assert not together["mask"].all(), "the batch must be padded for this test to say anything"
    scores = scores_of(model, together)
    measured = model.task.metrics(scores, together)
    for i in range(8):
        alone = source.batch(torch.tensor([i]))
        own = scores_of(model, alone)
        torch.testing.assert_close(scores[i, : own.shape[1]], own[0])
        for name, value in model.task.metrics(own, alone).items():
            torch.testing.assert_close(measured[name][i], value[0])
        torch.testing.assert_close(model.task.loss(own, alone)[0], model.task.loss(scores, together)[i])
        assert model.task.terms(alone)[0] == model.task.terms(together)[i]


@pytest.mark.parametrize("tied", [False, True])
def test_every_parameter_is_reached_and_moves(tied):
    data = synthetic(tied=tied)
    model = model_of(data).train()
    groups = parameters_by_role(model)
    assert set(groups) == {"backbone", "controller"} | (set() if tied else {"readout"})
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    # A batch that reaches the last position: a shorter one would leave its embedding alone.
    batch = data.split("train").batch(torch.arange(len(data.split("train"))))
    objective(model, batch, {"entropy": 0.0}).loss.backward()
    assert (model.task.tokens.position.weight.grad.norm(dim=1) > 0).all()
    optimiser.step()
    assert [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])] == []


def test_tied_weights_are_saved_once_and_read_back(tmp_path):
    data = synthetic(tied=True)
    model = model_of(data)
    save(tmp_path, model, {"facts": data.facts})
    facts = json.loads((tmp_path / "model.json").read_text())["facts"]
    again = TaskModel(LanguageTask(data.config, facts, SHAPE.width), Backbone(SHAPE, ROUTED, causal=True)).eval()
    load_weights(tmp_path, again)
    batch = data.split("test").batch(torch.arange(3))
    assert torch.equal(scores_of(model, batch), scores_of(again, batch))


def test_the_first_loss_is_that_of_no_knowledge():
    data = synthetic()
    torch.manual_seed(0)
    model = TaskModel(LanguageTask(data.config, data.facts, SHAPE.width), Backbone(SHAPE, Arm(), causal=True))
    batch = data.split("train").batch(torch.arange(32))
    assert objective(model, batch, {}).loss.item() == pytest.approx(math.log(data.facts["vocabulary"]), rel=0.02)


def test_it_trains_in_a_plain_loop_to_below_the_floor():
    data = synthetic()
    torch.manual_seed(0)
    model = TaskModel(LanguageTask(data.config, data.facts, 32), Backbone(SHAPE, Arm(), causal=True))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    train, test = data.split("train"), data.split("test")
    for epoch in range(8):
        for index in train.plan(32, seed=0, epoch=epoch, shuffle=True):
            optimiser.zero_grad()
            objective(model, train.batch(index), {}).loss.backward()
            optimiser.step()
    batch = test.batch(torch.arange(len(test)))
    measured = model.eval().task.metrics(scores_of(model, batch), batch)
    references = data.references(test)
    assert references["ceiling"].mean() < measured["loss"].mean() < 0.3 * references["floor"].mean()


# Metrics


def text_data(tmp_path: Path, tokenizer: str, text: str | None = None) -> LanguageData:
    text = text or "It rains in Zürich – naturally, once again; 日本 is dry. Now and then the sun shines! " * 40
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    config = LanguageConfig(corpus=str(tmp_path / "a.txt"), tokenizer=tokenizer, context=16, vocabulary=300)
    return LanguageData(config, seed=0)


@pytest.mark.parametrize("tokenizer", ["word", "character", "bpe"])
def test_bits_per_character_is_all_bits_over_all_characters(tmp_path, tokenizer):
    """Token by token: probabilities from explicit exponentials, characters by finding the tokens in the file."""
    data = text_data(tmp_path, tokenizer)
    source, model = data.split("test"), model_of(data)
    batch = source.batch(torch.arange(len(source)))
    scores = scores_of(model, batch)
    text = (tmp_path / "a.txt").read_text(encoding="utf-8")
    text = text[(int(0.9 * len(text)) + len(text)) // 2 :]
    bits = 0.0
    for row, targets in zip(scores.double(), batch["targets"], strict=True):
        for score, target in zip(row, targets, strict=True):
            bits -= math.log2(score[target].exp().item() / score.exp().sum().item())
    ids = data.tokenizer.encode(text, "test").ids
    last = len(source) * 16 + 1  # tokens that are first or a target
    if tokenizer == "word":  # from behind the first word to behind the last target
        place, ends = 0, []
        for i in ids[:last]:
            word = data.tokenizer.decode([i])
            place = text.index(word, place) + len(word)
            ends.append(place)
        characters = ends[-1] - ends[0]
    else:
        spelled = [data.tokenizer.decode(ids[:n]).rstrip("\ufffd") for n in (1, last)]
        characters = len(spelled[1]) - len(spelled[0])
    measured = model.task.metrics(scores, batch)["bits_per_character"].mean().item()
    assert measured == pytest.approx(bits / characters, rel=2e-3 if tokenizer == "bpe" else 1e-5)


def test_planted_bits_per_token_are_not_bits_per_character(tmp_path):
    data = text_data(tmp_path, "bpe")
    batch = data.split("test").batch(torch.arange(2))
    measured = model_of(data).task.metrics(scores_of(model_of(data), batch), batch)
    assert not torch.allclose(measured["loss"] / math.log(2), measured["bits_per_character"], rtol=0.05)


def test_loss_and_accuracy_count_real_targets_only():
    data = synthetic()
    task = model_of(data).task
    batch = data.split("test").batch(torch.arange(5))
    right = nn.functional.one_hot(batch["targets"], data.facts["vocabulary"]).float() * 20
    wrong_in_padding = torch.where(batch["mask"][..., None], right, -right)
    measured = task.metrics(wrong_in_padding, batch)
    assert measured["accuracy"].tolist() == [1.0] * 5
    assert measured["loss"].max() < 1e-5
    assert measured["recall"].tolist() == [1.0] * 5
    sums, counts = task.loss(wrong_in_padding, batch), task.terms(batch)
    assert torch.equal(counts, batch["mask"].sum(1))
    assert sums.max() < 1e-4


def test_one_wrong_word_in_the_answer_costs_its_recall_and_none_in_the_question_does():
    data = synthetic()
    task = model_of(data).task
    batch = data.split("test").batch(torch.arange(3))
    right = nn.functional.one_hot(batch["targets"], data.facts["vocabulary"]).float()
    right[0, 0] *= -1  # in the question
    end = int(batch["mask"][1].sum()) - 1
    right[1, end] *= -1  # the end of the answer
    right[2, int(batch["answer"][2].int().argmax())] *= -1  # its first word
    assert task.metrics(right, batch)["recall"].tolist() == [1.0, 0.0, 0.0]


def test_recall_is_what_greedy_decoding_of_the_prompt_gives():
    """Teacher forcing tells it without decoding: a model that is right everywhere sees its own words."""
    data = synthetic()
    source, model = data.split("train"), model_of(data, Arm())
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = source.batch(torch.arange(40))
    recalled = torch.zeros(40)
    for epoch in range(30):
        for index in source.plan(64, 0, epoch, shuffle=True):
            optimiser.zero_grad()
            objective(model, source.batch(index), {}).loss.backward()
            optimiser.step()
        recalled = model.task.metrics(scores_of(model, batch), batch)["recall"]
        if recalled.sum() > 3:
            break
    assert 3 < recalled.sum() < 37, "some must be recalled and some not for this test to say anything"
    for row, prompt, expected in zip(source.sequences(), source.prompts, recalled, strict=False):
        new = continuation(model, torch.tensor([row[:prompt]]), GenerationConfig(tokens=len(row) - prompt))
        assert (tuple(new[0].tolist()) == row[prompt:]) == bool(expected)


def test_recall_has_no_value_without_prompts(tmp_path):
    data = text_data(tmp_path, "character")
    batch = data.split("test").batch(torch.arange(2))
    assert model_of(data).task.metrics(scores_of(model_of(data), batch), batch)["recall"].isnan().all()
