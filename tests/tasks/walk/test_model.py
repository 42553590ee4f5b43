"""The two ends of the model: what heads see, what is asked after each step, and weights set by hand that walk."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.fixed_routers import OracleRouter
from headwise.routing.layout import heads_along, mask_of
from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.walk import WalkConfig, WalkTask
from headwise.tasks.walk.graphs import generate
from headwise.training.configuration import load
from headwise.training.objective import objective, weighted_task_loss
from headwise.training.optim import optimizer_for
from headwise.training.scoring import score
from headwise.training.start import build

KINDS = {"permutation": 1.0, "partial": 0.4, "many": 1.8}


def model(config: WalkConfig, arm: Arm, shape: ModelConfig) -> TaskModel:
    torch.manual_seed(0)
    return TaskModel(WalkTask(config, {}, shape.width), Backbone(shape, arm)).double().eval()


def permuted(batch: Batch, order: Tensor) -> Batch:
    """The same walks with their nodes in another order."""
    edges, reached = batch["edges"][..., order, :][..., order], batch["reached"][..., order]
    return batch | {"edges": edges, "reached": reached, "start": order.argsort()[batch["start"]]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("instruction", ["nodes", "tokens"])
def test_a_head_sees_at_each_node_those_that_its_relation_leads_from(kind: str, instruction: str) -> None:
    config = WalkConfig(nodes=5, relations=3, successors=KINDS[kind], instruction=instruction)
    batch = generate(config, 4, [0], 4)
    x, layout = model(config, Arm(), ModelConfig(width=16, heads=4, ffn=8, structural_heads=3)).embed(batch)
    along = heads_along(3, tuple(layout.relations))
    assert along == ("r1", "r2", "r3")
    seen = mask_of(layout, 4, along, None, x).attention == 0
    for row in range(4):
        for k in range(3):
            for node in range(x.shape[1]):
                edges = batch["edges"][row, k].tolist()
                expected = {other for other in range(5) if node < 5 and edges[other][node]}
                assert set(seen[row, k, node].nonzero()[:, 0].tolist()) == expected
        real = 5 + int(batch["hops"][row]) * (instruction == "tokens")
        assert (seen[row, 3].sum(1) == real).all()


@pytest.mark.parametrize("instruction", ["nodes", "tokens", "steps"])
def test_nodes_have_no_names(instruction: str) -> None:
    """In another order they get the same scores in that order."""
    config = WalkConfig(nodes=6, relations=3, instruction=instruction)
    arm = Arm(refinement=RefinementConfig(3, injection="input"))
    own = model(config, arm, ModelConfig(width=16, heads=4, ffn=8, structural_heads=3))
    batch, order = generate(config, 8, [0], 4), torch.tensor([3, 1, 5, 0, 2, 4])
    scores, others = (own.task.read_out(own(b).states[-1], b) for b in (batch, permuted(batch, order)))
    torch.testing.assert_close(scores[:, order], others)
    assert scores.std(1).min() > 0.01


def test_with_targets_for_hops_each_step_is_asked_where_the_walk_has_come() -> None:
    loop = RefinementConfig(6, injection="input", supervision="uniform")
    config = WalkConfig(nodes=6, relations=3, targets="hops")
    own = model(config, Arm(refinement=loop), ModelConfig(width=16, heads=4, ffn=8, structural_heads=3)).train()
    batch = generate(config, 8, [0], 4)
    trace = own(batch)
    total = torch.zeros(8, dtype=torch.float64)
    for t, state in enumerate(trace.states, start=1):
        scores = own.task.read_out(state, batch).log_softmax(1)
        target = batch["reached"][:, min(t, 4)].byte().argmax(1)
        total -= scores.gather(1, target[:, None])[:, 0] / 6
    torch.testing.assert_close(weighted_task_loss(own, batch, trace), total.sum())
    answer = TaskModel(WalkTask(replace(config, targets="answer"), {}, 16).double(), own.backbone)
    answer.task.load_state_dict(own.task.state_dict())
    assert not torch.allclose(weighted_task_loss(answer, batch, answer(batch)), total.sum())


def test_an_instruction_by_steps_says_the_same_at_every_step_and_nothing_behind_its_end() -> None:
    config = WalkConfig(nodes=6, relations=3, hops=3, instruction="steps")
    shape = ModelConfig(width=16, heads=4, ffn=8, structural_heads=3)
    own = model(config, Arm(refinement=RefinementConfig(5)), shape)
    batch = generate(config, 40, [0], 3)
    x, layout = own.embed(batch)
    for row, hops in enumerate(batch["hops"].tolist()):
        told = [own.task.instruction.relation.weight[r] for r in batch["instruction"][row, :hops]]
        expected = torch.stack([*told, *[torch.zeros(16).double()] * (3 - hops)])
        torch.testing.assert_close(layout.inputs[:, row, 0], expected)
    mask = mask_of(layout, 4, ("r1", "r2", "r3"), None, x)
    hidden = x
    for t in range(5):
        hidden = own.backbone.refiner.stack(hidden + (layout.inputs[t] if t < 3 else 0), mask).hidden
    torch.testing.assert_close(own(batch).states[0], own.backbone.norm(hidden))


def test_with_segments_hops_are_counted_on() -> None:
    loop = RefinementConfig(2, injection="input", supervision="uniform", segments=2)
    config = WalkConfig(nodes=6, relations=3, targets="hops")
    own = model(config, Arm(refinement=loop), ModelConfig(width=16, heads=4, ffn=8)).train()
    batch, carry, asked = generate(config, 2, [0], 4), None, []
    for _ in range(2):
        trace = own(batch, carry)
        carry = trace.carry.detach()
        asked += list(trace.numbers)
    assert asked == [1, 2, 3, 4]
    assert [own.task.at_step(batch, step)["reached"].shape[1] for step in asked] == [2, 3, 4, 5]


def walker(hops: int) -> TaskModel:
    """Weights by hand: channel t says "here after t hops". A head's value is what its node holds, one channel on.

    Each node sees one other along a relation, so what it takes from there is 1 whatever the queries are. Of nodes and
    instruction nothing is told but the start, and there is no feed-forward layer. Beside each channel stands its
    opposite, so that every node has a mean of 0.
    """
    config = WalkConfig(nodes=9, relations=3, hops=hops)
    channels = 2 * (hops + 1)
    width = 3 * channels  # three heads of the width of all channels
    shape = ModelConfig(width=width, heads=3, ffn=0, structural_heads=3)
    own = model(config, Arm(OracleRouter(), refinement=RefinementConfig(hops)), shape)
    (block,) = own.backbone.refiner.stack.blocks
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.zero_()
        for norm in (block.attention_norm, own.backbone.norm, own.task.scores.norm):
            norm.weight.fill_(1)
        own.task.nodes.is_start.weight[1, 0], own.task.nodes.is_start.weight[1, 1] = 1, -1
        values = block.attention.projection[2 * width :].view(3, channels, width)
        out = block.attention.output.weight.view(width, 3, channels)
        for head in range(3):
            values[head, :, :channels] = torch.eye(channels).roll(2, 0)
            out[:channels, head] = torch.eye(channels)
        own.task.scores.score.weight[0, 2 * hops] = 1
    return own


@pytest.mark.parametrize("hops", [1, 2, 3, 4])
def test_with_the_right_head_open_at_each_step_weights_set_by_hand_walk_to_the_end(hops: int) -> None:
    """What the oracle could learn: no node but the right one has come through so many hops in so many steps."""
    own = walker(hops)
    batch = generate(own.task.config, 300, [1], hops)
    whole = {name: part[batch["hops"] == hops] for name, part in batch.items()}

    def accuracy(gates: object = None) -> float:
        scores = own.task.read_out(own(whole, gates=gates).states[-1], whole)
        return own.task.metrics(scores, whole)["accuracy"].mean().item()

    assert accuracy() == 1
    ones = torch.ones(len(whole["hops"]), 1, 3, dtype=torch.float64)
    assert accuracy([[ones]]) < 0.7  # all heads open: every way of so many hops ends somewhere


TWO_HOPS = [
    "task=walk",
    "task.hops=2",
    "task.nodes=6",
    "task.relations=3",
    "task.instruction=steps",
    "task.test_examples=200",
    "arm.refinement.steps=2",
    "model.width=24",
    "model.heads=3",
    "model.structural_heads=3",
    "model.ffn=0",
    "training.preset.lr=0.01",
]


def trained(arm: str, updates: int) -> float:
    """Accuracy on two hops after so many updates."""
    torch.manual_seed(0)
    config = load([*TWO_HOPS, f"arm={arm}"])
    data, own = build(config)
    source, optimizer = data.split("train"), optimizer_for(own, config.training.preset)
    for number in range(updates):
        loss = objective(own, source.batch(torch.arange(64 * number, 64 * number + 64)), config.training.losses).loss
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    return score(own.eval(), data.split("test"), 200).means()["accuracy_2_hops"]


def test_whoever_opens_the_right_head_learns_two_hops_and_who_opens_all_does_not() -> None:
    """From the answer alone, in 80 updates."""
    assert trained("oracle", 80) > 0.98
    assert trained("looped_gated", 80) > 0.9
    assert trained("looped", 80) < 0.8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["arm=oracle", "model.structural_heads=0"], "arm.router.name=oracle: no head follows a relation"),
        (["arm=oracle", "arm.refinement.steps=3"], "follows 4 relations, one a step, in 3; choose arm.refinement.ste"),
        (["model.structural_heads={r9: 1}"], "model.structural_heads.r9: no such relation; choose of r1, r2, r3"),
        (["arm=looped", "task.targets=hops"], "arm.refinement.supervision=last: the task has a target for each step"),
        (["task=sorting", "arm=oracle"], "arm.router.name=oracle: the task does not say which relation"),
    ],
)
def test_what_the_walk_and_an_arm_do_not_share_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        load(["task=walk", *words])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
