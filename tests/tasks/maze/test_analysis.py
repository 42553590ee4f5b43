"""What the analysis of a run says: shares with intervals, lengths, gates of local and global heads, pictures."""

import json
import math
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.halting import EntropyHalting, PonderHalting
from headwise.routing.routers import LearnedRouter
from headwise.schema import build
from headwise.tasks.base import TaskModel
from headwise.tasks.examined import forced
from headwise.tasks.maze import MazeConfig, MazeData, MazeTask
from headwise.tasks.maze.analysis import analyse
from headwise.tasks.maze.gates import usage
from headwise.training.scoring import score

from ...laws.arms import HRM

HRM_TOKEN = replace(HRM, router=LearnedRouter("token"))


def analysed(arm: Arm, near: int = 2, **task: Any) -> tuple[dict[str, Any], TaskModel, MazeData]:
    config = build(MazeConfig, {"size": 5, "test_mazes": 60, **task}, "task")
    data = MazeData(config, 0)
    torch.manual_seed(0)
    shape = ModelConfig(width=16, heads=4, ffn=24, structural_heads=near)
    model = TaskModel(MazeTask(config, data.facts, 16), Backbone(shape, arm)).eval()
    found = analyse(model, data, data.split("test"))
    json.dumps(found, allow_nan=True)
    return found, model, data


def table(found: dict[str, Any], title: str) -> list[list[Any]]:
    return next(table["rows"] for table in found["tables"] if table["title"] == title)


@pytest.mark.parametrize("read_out", ["grid", "next_cell"])
def test_the_tables_say_what_scoring_says_and_the_pictures_are_whole(read_out: str) -> None:
    found, model, data = analysed(Arm(), read_out=read_out)
    optimal = score(model, data.split("test"), 7).metrics["optimal"]
    rows = {row[0]: row[1:] for row in table(found, "Mazes solved")}
    assert list(rows) == ["model", "random", "toward goal", "breadth first"]
    assert rows["model"][0].startswith(f"{optimal.mean():.1%} (")
    assert rows["breadth first"] == ["100.0% (94.0% to 100.0%)"] * 2
    by_length = table(found, "By length of the path")
    assert sum(row[1] for row in by_length) == 60
    assert sum(row[1] * row[2] for row in by_length) == pytest.approx(optimal.sum().item())
    assert len(found["figures"]) == 4
    for figure in found["figures"]:
        root = ElementTree.fromstring(figure["svg"])
        assert root.tag.endswith("svg")
        place = int(figure["title"].removeprefix("Maze "))
        assert figure["caption"] == ("Solved." if optimal[place] else "Not solved.")
    assert found["metrics"] == {}  # nothing is routed, nobody asks again
    for part in found["tables"]:
        assert all(len(row) == len(part["columns"]) for row in part["rows"])


def test_gates_of_local_and_global_heads_are_told_apart() -> None:
    found, model, data = analysed(HRM)
    rows = table(found, "Local and global heads")
    assert [row[0] for row in rows] == [f"step {t}" for t in range(1, 6)]
    assert all(part["title"] != "Local and global heads by cell" for part in found["tables"])  # one gate for all cells
    assert all(near == pytest.approx(1) and far == pytest.approx(1) for _, near, far in rows)  # routers start at 1
    for router in model.backbone.routers():
        torch.nn.init.normal_(router.of_context.weight)
        router.of_context.bias.data = torch.tensor([2.0, 2.0, 0.0, 0.0])
    rows = table(analyse(model, data, data.split("test")), "Local and global heads")
    assert all(near > far and near + far == pytest.approx(2) for _, near, far in rows)
    for arm, near in ((HRM, 0), (HRM, 4), (Arm(), 2)):
        assert all(part["title"] != "Local and global heads" for part in analysed(arm, near)[0]["tables"])


def test_gates_by_cell_are_means_over_the_cells_of_a_kind() -> None:
    _, model, data = analysed(HRM_TOKEN)
    for router in model.backbone.routers():
        torch.nn.init.normal_(router.of_context.weight, std=5.0)
    source = data.split("test")
    rows = {row[0]: row[1:] for row in table(analyse(model, data, source), "Local and global heads by cell")}
    batch = source.batch(torch.arange(len(source)))
    with torch.no_grad():
        weight = model(batch, record=True).gates[-1][0].weight  # [B, L, H]
    ways = torch.tensor([[sum(cell) for row in maze for cell in row] for maze in batch["open"].tolist()])
    junction = weight[ways >= 3]
    assert rows["junction (three or four)"] == pytest.approx(
        [junction[:, :2].mean().item(), junction[:, 2:].mean().item()]
    )
    assert rows["on the shortest path"][0] == pytest.approx(weight[batch["on_path"].flatten(1)][:, :2].mean().item())
    assert rows["dead end (one way out)"] != rows["corridor (two)"]


@pytest.mark.parametrize("arm", [HRM, HRM_TOKEN])
def test_gates_at_their_mean_show_whether_choosing_matters(arm: Arm) -> None:
    found, model, data = analysed(arm)
    rows = {row[0]: row[1:] for row in table(found, "Mazes solved")}
    at_mean = found["metrics"]["optimal_mean_gates"]
    assert rows["model"][0].startswith(f"{at_mean:.1%} (")  # all gates are 1 before training
    source = data.split("test")
    batch = source.batch(torch.arange(len(source)))
    for router in model.backbone.routers():
        torch.nn.init.normal_(router.of_context.weight, std=5.0)
    mean = usage(model, [batch]).sums.mean()
    assert len(mean) == 5
    values = forced(mean, batch, 5)
    assert all(gates.shape == (60, 1, 4) for layers in values for gates in layers)
    with torch.no_grad():
        assert not torch.allclose(model(batch).states, model(batch, gates=values).states, atol=1e-3)


def test_the_mean_of_one_maze_under_one_gate_for_all_cells_is_what_it_had_at_each_step() -> None:
    _, model, data = analysed(HRM)
    for router in model.backbone.routers():
        torch.nn.init.normal_(router.of_context.weight, std=5.0)
    batch = data.split("test").batch(torch.arange(1))
    mean = usage(model, [batch]).sums.mean()
    assert not torch.allclose(mean[0][0], mean[-1][0])
    with torch.no_grad():
        assert torch.allclose(model(batch).states, model(batch, gates=forced(mean, batch, 5)).states, atol=1e-5)


def test_mazes_that_halt_later_under_mean_gates_keep_the_last_ones() -> None:
    _, model, data = analysed(HRM)
    batch = data.split("test").batch(torch.arange(3))
    mean = usage(model, [batch]).sums.mean()[:2]  # as if all had halted after two steps
    values = forced(mean, batch, 5)
    assert len(values) == 5
    assert torch.equal(values[4][0], values[1][0])


@pytest.mark.parametrize("halting", [EntropyHalting(), PonderHalting()])
def test_arms_that_halt_are_analysed(halting: EntropyHalting | PonderHalting) -> None:
    metrics = analysed(replace(HRM, halting=halting))[0]["metrics"]
    assert ("optimal_mean_gates" in metrics) == isinstance(halting, PonderHalting)  # entropy needs the router's choice


@pytest.mark.parametrize(("sure", "said"), [(0.5, "than 0.5."), (None, "than 0.9.")])
def test_each_step_adds_what_walks_that_ask_again_reach(sure: float | None, said: str) -> None:
    read_out = {"name": "next_cell", "decode": "each_step", "sure": sure}
    found, _, _ = analysed(Arm(), read_out=read_out, test_mazes=20)
    metrics = found["metrics"]
    assert 0 <= metrics["optimal_each_step"] <= metrics["reached_each_step"] <= 1
    assert metrics["passes_each_step"] >= 1
    assert 0 <= metrics["same_each_step"] <= 1
    assert metrics["seconds_each_step"] > 0
    assert [row[0] for row in table(found, "Asking at each step")][:2] == ["optimal", "reached"]
    assert math.isclose(table(found, "Asking at each step")[3][1], metrics["passes_each_step"])
    assert said in next(table["caption"] for table in found["tables"] if table["title"] == "Asking at each step")


def test_no_more_mazes_at_once_than_asked_for() -> None:
    _, model, data = analysed(HRM_TOKEN, test_mazes=20)
    seen: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0]["start"])))
    analyse(model, data, data.split("test"), batch_size=6)
    assert seen == [6, 6, 6, 2] * 3  # predictions, gates, gates at their mean
