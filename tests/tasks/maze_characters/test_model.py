"""The two ends of the model: what it sees, what it is scored on, and that weights fit larger mazes."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from headwise.errors import InputError
from headwise.models.backbone import Backbone
from headwise.models.roles import parameters_by_role
from headwise.models.sizes import ModelConfig
from headwise.schema import build
from headwise.tasks.base import TaskModel
from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.generate import generate
from headwise.tasks.maze_characters import MazeCharactersConfig, MazeCharactersData, MazeCharactersTask
from headwise.tasks.maze_characters.analysis import analyse, wrong
from headwise.tasks.maze_characters.characters import GOAL, PATH, START, WALL, answer, question
from headwise.tasks.maze_characters.drawing import DrawingConfig
from headwise.training.configuration import load
from headwise.training.evaluation import evaluate
from headwise.training.run import train
from headwise.training.scoring import score

from ...laws.arms import HRM

BATCH = tensors(generate(DrawingConfig(7, min_path_length=4), 12, seed=0))


def task(**changes: Any) -> MazeCharactersTask:
    config = build(MazeCharactersConfig, {"size": 7, **changes}, "task")
    torch.manual_seed(0)
    return MazeCharactersTask(config, MazeCharactersData(config, 0).facts, 16).double()


def test_a_model_sees_the_question_and_nothing_of_the_answer() -> None:
    other = {name: torch.zeros_like(BATCH[name]) for name in ("path", "on_path", "length", "optimal")}
    one = task()
    for seen, hidden in zip(one.embed(BATCH | other), one.embed(BATCH), strict=True):
        assert seen is hidden or torch.equal(seen, hidden)
    assert not question(BATCH | other).equal(answer(BATCH))
    for name in ("start", "goal", "open"):
        moved = BATCH | {name: BATCH[name].roll(1, 0)}
        assert not torch.equal(one.embed(moved)[0], one.embed(BATCH)[0])


def test_positions_are_embedded_where_they_are_absolute_alone() -> None:
    for positions, different in (("absolute", True), ("relative", False), ("none", False)):
        one = task(positions=positions)
        walls = one.embed(BATCH)[0][question(BATCH) == WALL]
        assert (len(walls.detach().unique(dim=0)) > 1) == different
        assert (one.layout(BATCH).positions is None) == (positions == "none")
        assert set(parameters_by_role(one)) == {"backbone", "readout"}


def test_open_characters_see_their_open_neighbours_and_walls_themselves() -> None:
    (near,) = task().layout(BATCH).relations.values()
    for grid, seen in zip(question(BATCH).view(-1, 7, 7), near, strict=True):
        for cell in range(49):
            row, column = divmod(cell, 7)
            around = [(row, column), (row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
            inside = [(r, c) for r, c in around if 0 <= r < 7 and 0 <= c < 7]
            expected = {7 * r + c for r, c in inside if grid[r, c] != WALL and grid[row, column] != WALL} | {cell}
            assert set(seen[cell].nonzero()[:, 0].tolist()) == expected
    assert MazeCharactersTask.relations(MazeCharactersConfig()) == ("neighbour",)


@pytest.mark.parametrize("kind", ["softmax", "stablemax"])
def test_every_character_is_a_term_of_the_loss(kind: str) -> None:
    one, generator = task(loss=kind), torch.Generator().manual_seed(0)
    logits = torch.randn(12, 49, 5, generator=generator, dtype=torch.float64)
    s = logits.exp() if kind == "softmax" else torch.where(logits < 0, 1 / (1 - logits), logits + 1)
    right = F.one_hot(answer(BATCH), 5).bool()
    expected = -(s / s.sum(-1, keepdim=True))[right].log().view(12, 49).sum(1)
    torch.testing.assert_close(one.loss(logits, BATCH), expected)
    assert one.terms(BATCH).tolist() == [49] * 12
    best = one.metrics(F.one_hot(answer(BATCH), 5).double(), BATCH)
    assert all((values == 1).all() for values in best.values())
    assert one.exact is not None
    assert one.exact in best


def test_shifts_keep_the_frame_and_ask_for_longer_ways() -> None:
    config = MazeCharactersConfig(size=30, min_path_length=100, max_path_length=140)
    size, length = (MazeCharactersTask.shifts(config)[axis] for axis in ("size", "length"))
    assert size.values == (40, 50, 60)
    assert dict(size.settings(60)) | {"file": None} == {
        "file": None, "test_file": None, "size": 60, "min_path_length": 400, "max_path_length": 560,
    }  # fmt: skip
    assert MazeCharactersTask.shifts(MazeCharactersConfig())["size"].values == (15, 19, 23)
    assert length.values == (90, 180, 270)
    assert dict(length.settings(180))["min_path_length"] == 180


def test_positions_that_the_backbone_does_not_know_are_refused() -> None:
    with pytest.raises(InputError, match=r"task.positions=relative: .* choose model.relative=1 or more, up to 10"):
        MazeCharactersTask.check(MazeCharactersConfig(positions="relative"), ModelConfig())


def test_the_analysis_says_what_scoring_says_and_marks_what_is_wrong() -> None:
    config = build(MazeCharactersConfig, {"size": 7, "test_mazes": 30}, "task")
    data = MazeCharactersData(config, 0)
    shape = ModelConfig(width=16, heads=4, ffn=24, structural_heads=2)
    torch.manual_seed(0)
    model = TaskModel(MazeCharactersTask(config, data.facts, 16), Backbone(shape, HRM)).eval()
    source = data.split("test")
    found = analyse(model, data, source)
    json.dumps(found)
    measured = score(model, source, 7).metrics
    shares, lengths, *routing = found["tables"]
    assert [row[0] for row in shares["rows"]] == ["model", "copy", "random", "toward goal", "breadth first"]
    assert shares["rows"][0][1].startswith(f"{measured['exact'].mean():.1%} (")
    assert shares["rows"][0][-1] == f"{measured['characters_right'].mean():.2%}"
    assert sum(row[1] for row in lengths["rows"]) == 30
    assert routing[0]["title"] == "Local and global heads"
    assert set(found["metrics"]) == {"exact_mean_gates"}
    assert all(ElementTree.fromstring(figure["svg"]).tag.endswith("svg") for figure in found["figures"])
    assert {figure["caption"] for figure in found["figures"]} == {"Not solved."}


def test_characters_that_are_wrong_beside_the_path_are_told_apart() -> None:
    source = MazeCharactersData(build(MazeCharactersConfig, {"size": 7, "test_mazes": 1}, "task"), 0).split("test")
    written, asked = answer(source.examples), question(source.examples)[0]
    assert not wrong(written, source).any()
    wall, start, goal = (int((asked == kind).nonzero()[0]) for kind in (WALL, START, GOAL))
    written[0, wall], written[0, start] = PATH, GOAL
    written[0, written[0] == PATH] = 1
    written[0, wall] = PATH
    assert np.flatnonzero(wrong(written, source)[0].numpy()).tolist() == sorted((wall, start))  # not the missing path
    assert goal not in np.flatnonzero(wrong(written, source)[0].numpy())


def test_a_run_is_trained_and_scored_on_larger_mazes(tmp_path: Path) -> None:
    few = ["task.train_mazes=20", "task.validation_mazes=8", "task.test_mazes=12", "task.loss=stablemax"]
    shape = ["model.width=16", "model.heads=4", "model.ffn=16", "model.structural_heads=2", "model.relative=2"]
    brief = ["training.updates=4", "training.batch_size=8", "training.validate_every=2", "training.loggers=[]"]
    words = ["task=maze_characters", "task.size=5", "task.positions=relative", "arm=looped", "device=cpu"]
    path = train(load([*words, *few, *shape, *brief, f"output={tmp_path}"]), progress=False)
    larger = evaluate(path, {"task.size": 8, "task.min_path_length": 6})
    assert larger["floor"] < larger["ceiling"] == 1
    assert set(larger["metrics"]) >= {"exact", "optimal", "valid", "characters_right"}
    assert set(larger["references_by_metric"]) == {"exact", "optimal", "valid", "characters_right"}
