"""The parser: its scores against their formula, laws that concern the task, and every combination that was claimed."""

import itertools
import math
import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from headwise.errors import InputError
from headwise.models.arm import Arm, check
from headwise.models.backbone import Backbone
from headwise.models.checkpoint import load_weights, save
from headwise.models.roles import parameters_by_role
from headwise.models.sizes import ModelConfig
from headwise.reasoning.controllers import HRMConfig
from headwise.reasoning.halting import EntropyHalting, FixedHalting, PonderHalting
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.gates import Soft, TopK
from headwise.routing.routers import LearnedRouter
from headwise.tasks import entry
from headwise.tasks.base import TaskModel
from headwise.tasks.parsing import ParsingConfig, ParsingData, ParsingTask
from headwise.tasks.parsing.metrics import measure
from headwise.tasks.parsing.model import Biaffine
from headwise.tasks.parsing.pretrained import Pretrained
from headwise.tasks.parsing.scorer import ArcScorer, RelationScorer
from headwise.tasks.parsing.scratch import Scratch
from headwise.training.building import build_model
from headwise.training.config import ROUTING_LOSSES, RunConfig
from headwise.training.objective import objective
from headwise.training.optim import Uniform, optimizer_for
from headwise.training.start import build

SMALL = Scratch(word=8, characters=8, hidden=8, layers=1)
SHAPE = ModelConfig(width=16, heads=4, ffn=24)
CONFIG = ParsingConfig(encoder=SMALL, arcs=8, labels=6, train_sentences=60)
PLAIN = Arm()
WEIGHTS = ROUTING_LOSSES | {"entropy": 0.01}


@pytest.fixture(scope="module")
def data() -> ParsingData:
    return ParsingData(CONFIG, seed=0)


def model_of(data: ParsingData, arm: Arm = PLAIN) -> TaskModel:
    """A model away from its start."""
    torch.manual_seed(0)
    model = TaskModel(ParsingTask(data.config, data.facts, SHAPE.width), Backbone(SHAPE, arm))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def test_arc_scores_are_the_biaffine_form_word_by_word():
    scorer = ArcScorer(6, 4, dropout=0.0).double()
    words, candidates = torch.randn(2, 3, 6).double(), torch.randn(2, 4, 6).double()
    scores = scorer(words, candidates)
    d, h = scorer.dependent(words), scorer.head(candidates)
    for b, i, j in itertools.product(range(2), range(3), range(4)):
        expected = (d[b, i] @ scorer.weight @ h[b, j] + scorer.prior @ h[b, j]) / math.sqrt(4)
        torch.testing.assert_close(scores[b, i, j], expected)


def test_relation_scores_are_the_biaffine_form_word_by_word():
    scorer = RelationScorer(6, labels=3, relations=5, dropout=0.0).double()
    dependents, heads = torch.randn(2, 2, 3).double(), torch.randn(2, 2, 3).double()
    scores = scorer(dependents, heads)
    one = torch.ones(1).double()
    for b, i, k in itertools.product(range(2), range(2), range(5)):
        left, right = torch.cat([dependents[b, i], one]), torch.cat([heads[b, i], one])
        torch.testing.assert_close(scores[b, i, k], left @ scorer.weight[:, k] @ right)


def test_no_word_is_its_own_head_and_padding_is_nobodys(data):
    model, batch = model_of(data).eval(), data.split("test").batch(torch.arange(6))
    arcs = model.task.read_out(model(batch).states[-1], batch).arcs
    lengths = batch["mask"].sum(1)
    for b, i in batch["mask"].nonzero().tolist():
        impossible = {i + 1, *range(int(lengths[b]) + 1, arcs.shape[2])}
        assert set(arcs[b, i].isinf().nonzero().flatten().tolist()) == impossible


def test_the_loss_is_that_of_the_right_head_and_of_the_relation_to_it(data):
    model, batch = model_of(data).eval(), data.split("test").batch(torch.arange(4))
    prediction = model.task.read_out(model(batch).states[-1], batch)
    total, count = model.task.loss(prediction, batch), model.task.terms(batch)
    assert count.tolist() == batch["mask"].sum(1).tolist()
    relations = model.task.biaffine.label(prediction, batch["heads"])
    for b in range(4):
        expected = 0.0
        for i in range(int(count[b])):
            expected -= F.log_softmax(prediction.arcs[b, i], -1)[batch["heads"][b, i]].item()
            expected -= F.log_softmax(relations[b, i], -1)[batch["relations"][b, i]].item()
        assert total[b].item() == pytest.approx(expected, rel=1e-4)


def test_a_sentences_tree_does_not_depend_on_its_batch(data):
    model, source = model_of(data, Arm(router=LearnedRouter("token"), gate=TopK(2))).eval(), data.split("test")
    index = torch.arange(8)
    with torch.no_grad():
        batch = source.batch(index)
        together = model.task.read_out(model(batch).states[-1], batch)
        for i in range(8):
            one = source.batch(index[i : i + 1])
            alone = model.task.read_out(model(one).states[-1], one)
            words = int(one["mask"].sum())
            torch.testing.assert_close(together.arcs[i, :words, : words + 1], alone.arcs[0], atol=1e-5, rtol=1e-4)


def test_decoded_heads_are_trees_with_one_root_which_alone_is_called_so(data):
    model, batch = model_of(data).eval(), data.split("test").batch(torch.arange(16))
    heads, relations = model.task.decode(model.task.read_out(model(batch).states[-1], batch), batch["mask"])
    root = data.facts["relations"].index("root")
    assert torch.equal((heads == 0) & batch["mask"], (relations == root) & batch["mask"])
    for row, mask in zip(heads, batch["mask"], strict=True):
        tree = row[mask].tolist()
        assert tree.count(0) == 1
        for place in range(1, len(tree) + 1):
            for _ in range(len(tree)):
                place = tree[place - 1] if place else 0
            assert place == 0


def test_a_perfect_prediction_scores_one_over_the_whole_source(data):
    source = data.split("test")
    batch = source.batch(torch.arange(len(source)))
    found = measure(batch["heads"], batch["relations"], batch, data.facts["relations"])
    assert {name: pytest.approx(1.0) == values.mean().item() for name, values in found.items()} == dict.fromkeys(
        found, True
    )


def test_references_stand_between_floor_and_ceiling(data):
    levels = data.references_by_metric(data.split("test"))
    for of_metric in levels.values():
        assert of_metric["ceiling"].mean().item() == pytest.approx(1.0)
        assert of_metric["floor"].mean() < 0.6
    assert levels["uas"]["previous_word"].mean() < 0.4
    assert torch.equal(data.references(data.split("test"))["floor"], levels["las"]["floor"])


HALTINGS = {"fixed": FixedHalting(), "entropy": EntropyHalting(0.9), "ponder": PonderHalting()}
GATES = {"soft": Soft(), "top_2": TopK(2)}
PRODUCT = list(itertools.product((1, 2, 3), HALTINGS, GATES, ("mask_concat", "mixture")))


def pointer(steps: int, halting: str, gate: str, combine: str) -> Arm:
    """The published parser: token granularity, two-time-scale context."""
    loop = RefinementConfig(steps=steps, injection="input" if steps > 1 else "none")
    return Arm(
        LearnedRouter("token"), GATES[gate], combine, HRMConfig(period=max(1, steps - 1)), HALTINGS[halting], loop
    )


def untouched(data: ParsingData, arm: Arm) -> list[str]:
    """The parameters that one update leaves as they were."""
    check(arm, ParsingTask.declared(data.config), SHAPE)
    model = model_of(data, arm).train()
    optimizer = optimizer_for(model, Uniform(weight_decay=0.0))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    objective(model, data.split("train").batch(torch.arange(16)), WEIGHTS).loss.backward()
    optimizer.step()
    return [name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])]


@pytest.mark.parametrize(("steps", "halting", "gate", "combine"), PRODUCT)
def test_every_claimed_combination_trains_every_parameter_or_is_refused(data, steps, halting, gate, combine):
    arm = pointer(steps, halting, gate, combine)
    if steps > 1:
        assert untouched(data, arm) == []
        return
    with pytest.raises(InputError, match=r"arm\.controller\.period|arm\.halting\.name"):
        check(arm, ParsingTask.declared(data.config), SHAPE)


@pytest.mark.parametrize(("gate", "combine"), list(itertools.product(GATES, ("mask_concat", "mixture"))))
def test_with_one_step_the_published_parser_is_a_router_without_a_controller(data, gate, combine):
    assert untouched(data, Arm(LearnedRouter("token"), GATES[gate], combine)) == []


def test_a_frozen_root_would_be_seen(data, monkeypatch):
    monkeypatch.setattr(Biaffine, "forward", detached_root(Biaffine.forward))
    assert untouched(data, PLAIN) == ["task.biaffine.root"]


def detached_root(forward):
    """The read-out with the mistake of a root vector that gets no gradient."""

    def planted(self, hidden, mask):
        root, self.root = self.root, nn.Parameter(self.root.detach(), requires_grad=False)
        try:
            return forward(self, hidden, mask)
        finally:
            self.root = root

    return planted


def test_a_finetuned_encoder_is_saved_with_the_run_and_needs_nothing_else(tiny_bert, tmp_path):
    folder = tmp_path / "bert"
    shutil.copytree(tiny_bert, folder)
    config = RunConfig(replace(CONFIG, encoder=Pretrained(str(folder), layers=1), train_sentences=20), model=SHAPE)
    data, model = build(config)
    assert set(parameters_by_role(model)) == {"pretrained", "backbone", "readout"}
    save(tmp_path, model, {})
    shutil.rmtree(folder)
    again = build_model(config, data.facts)
    load_weights(tmp_path, again)
    batch = data.split("test").batch(torch.arange(4))
    assert torch.equal(again.eval()(batch).states, model.eval()(batch).states)


def test_the_task_is_listed_and_scored_by_labelled_attachment():
    assert entry("parsing").task is ParsingTask
    assert ParsingTask.metric == "las"
    assert not ParsingTask.causal


def test_more_training_sentences_than_there_are_is_one_line():
    with pytest.raises(InputError, match=r"task.train_sentences=1000000: synthetic has \d+ sentences .* choose 1\.\."):
        ParsingData(replace(CONFIG, train_sentences=1_000_000), seed=0)
