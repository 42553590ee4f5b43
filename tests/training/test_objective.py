"""The objective against its formula, and the plain loop it is made for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.roles import parameters_by_role
from headwise.models.sizes import ModelConfig
from headwise.reasoning.trace import Carry, Trace
from headwise.routing.layout import Layout
from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.sorting import SortingConfig, SortingData, SortingTask
from headwise.training.objective import objective
from tests.training.recipes import GUMBEL, PONDER, tiny


class CountingTask(torch.nn.Module):
    """Loss terms are the state's entries at real tokens, so that every expected value can be computed by hand."""

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch["x"], batch["mask"]

    def layout(self, batch: Batch) -> Layout:
        return Layout()

    def read_out(self, hidden: Tensor, batch: Batch) -> Tensor:
        return hidden[..., 0]

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        return (prediction * batch["mask"].to(prediction.dtype)).sum(1)

    def terms(self, batch: Batch) -> Tensor:
        return batch["mask"].sum(1)


class TwoSteps(torch.nn.Module):
    """States x and 10 x, weighed by w, with one routing loss."""

    def forward(self, x: Tensor, mask: Tensor, **_: object) -> Trace:
        weights = torch.tensor([[0.25, 1.0], [0.75, 0.0]])
        return Trace(torch.stack([x, 10 * x]), weights, torch.tensor([1.75, 1.0]), {"cost": x.sum()}, Carry(x, None))


def model() -> TaskModel:
    return TaskModel(CountingTask(), TwoSteps())  # type: ignore[arg-type]


def batch() -> Batch:
    x = torch.tensor([[1.0, 2.0, 0.0], [5.0, 0.0, 0.0]])[..., None]
    return {"x": x, "mask": torch.tensor([[True, True, False], [True, False, False]])}


def test_the_loss_is_the_weighted_sum_over_steps_and_examples_per_loss_term() -> None:
    # (0.25 · 3 + 0.75 · 30 + 1 · 5 + 0 · 50) / (2 + 1)
    result = objective(model(), batch(), {"cost": 0.0})
    assert result.loss.item() == pytest.approx((0.75 + 22.5 + 5) / 3)
    assert result.logs["steps"].item() == pytest.approx(1.375)
    assert result.logs["tokens"].item() == 6


def test_routing_losses_are_added_with_their_weight_and_logged_without() -> None:
    plain = objective(model(), batch(), {"cost": 0.0})
    added = objective(model(), batch(), {"cost": 0.5})
    rewarded = objective(model(), batch(), {"cost": -0.5})
    assert (added.loss - plain.loss).item() == pytest.approx(4.0)
    assert (rewarded.loss - plain.loss).item() == pytest.approx(-4.0)
    assert added.logs["cost"].item() == 8
    assert added.logs["loss"].item() == pytest.approx(added.loss.item())


def test_a_routing_loss_without_a_weight_is_refused_rather_than_dropped() -> None:
    with pytest.raises(InputError, match=r"training\.losses\.cost: missing"):
        objective(model(), batch(), {"entropy": 1.0})


def test_the_entropy_of_gates_is_computed_where_it_has_a_weight_and_nowhere_else(tmp_path: Path) -> None:
    config = tiny(tmp_path, GUMBEL)
    data = SortingData(config.task, 0)
    network = TaskModel(SortingTask(config.task, {}, 16), Backbone(config.model, config.arm))
    examples = data.split("train").batch(torch.arange(4))
    for weight in (0.0, 0.1, 0.0):
        assert ("entropy" in objective(network, examples, {"entropy": weight}).logs) == bool(weight)


def test_padding_does_not_change_the_loss() -> None:
    padded = {name: torch.cat([t, torch.zeros_like(t[:, :2])], 1) for name, t in batch().items()}
    padded["x"][:, 3:] = 99
    ours, theirs = objective(model(), batch(), {"cost": 0.0}), objective(model(), padded, {"cost": 0.0})
    assert ours.loss.item() == pytest.approx(theirs.loss.item())


class Detached(torch.nn.Module):
    """A backbone with the published mistake: routing losses without gradient."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, *args: object, **kwargs: object) -> Trace:
        self.backbone.reports_entropy = self.reports_entropy  # as the objective asked
        trace = self.backbone(*args, **kwargs)
        return replace(trace, losses={name: value.detach() for name, value in trace.losses.items()})


def reach(network: TaskModel, examples: Batch, name: str) -> float:
    """How much a weight on the routing loss `name` changes the gradient of routers, controller and halting head."""
    own = [parameter for _, parameter in parameters_by_role(network)["controller"]]
    gradients = []
    for weight in (0.0, 1.0):
        torch.manual_seed(0)  # the same noise both times
        loss = objective(network, examples, {"entropy": 0.0, "ponder": 0.0, name: weight}).loss
        gradients.append(torch.autograd.grad(loss, own))
    return sum((a - b).abs().sum().item() for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(("plain_arm", "name"), [(GUMBEL, "entropy"), (PONDER, "entropy"), (PONDER, "ponder")])
def test_every_routing_loss_reaches_the_controller(plain_arm: dict[str, object], name: str, tmp_path: Path) -> None:
    """As published, entropy and ponder cost were detached, so that both regularisers did nothing."""
    config = tiny(tmp_path, plain_arm)
    backbone = Backbone(config.model, config.arm)
    for parameter in backbone.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # a router at zero has no entropy gradient
    task, examples = SortingTask(config.task, {}, 16), SortingData(config.task, 0).split("train").batch(torch.arange(8))
    assert reach(TaskModel(task, backbone), examples, name) > 1e-3
    assert reach(TaskModel(task, Detached(backbone)), examples, name) == 0  # type: ignore[arg-type]


def plain_loop(data: SortingData, network: TaskModel, updates: int) -> list[float]:
    optimizer, losses, epoch = torch.optim.AdamW(network.parameters(), lr=3e-3), [], 0
    while len(losses) < updates:
        for index in data.split("train").plan(64, seed=0, epoch=epoch, shuffle=True):
            optimizer.zero_grad()
            loss, *_ = objective(network, data.split("train").batch(index), {})
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        epoch += 1
    return losses


def test_a_plain_torch_loop_trains_the_sorting_task_to_near_its_ceiling() -> None:
    config = SortingConfig(length=8, train_examples=1000, test_examples=1000)
    data = SortingData(config, seed=0)
    network = TaskModel(SortingTask(config, data.facts, 32), Backbone(ModelConfig(32, 4, 64), Arm()))
    losses = plain_loop(data, network, updates=120)
    test = data.split("test")
    examples = test.batch(torch.arange(len(test)))
    with torch.no_grad():
        prediction = network.task.read_out(network.eval()(examples).states[-1], examples)
    tau = network.task.metrics(prediction, examples)["rank_tau"].mean()
    assert losses[-1] < losses[0] - 0.3
    assert tau > data.references(test)["ceiling"].mean() - 0.02
