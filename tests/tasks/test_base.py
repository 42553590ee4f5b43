"""The seams that training relies on: reproducible plans, lazy names, a model without a role of its own."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.models.backbone import Backbone
from headwise.models.sizes import ModelConfig
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.layout import Layout
from headwise.schema import build
from headwise.tasks import TASKS, entry
from headwise.tasks.base import Batch, Source, TaskData, TaskModel
from headwise.tasks.sorting import SortingConfig, SortingTask
from headwise.tasks.sorting.arrays import generate
from headwise.training.scoring import score


class Numbers(Source):
    def __len__(self) -> int:
        return 10

    def batch(self, index: Tensor) -> Batch:
        return {"number": index}


def test_a_shuffled_epoch_visits_every_example_once():
    plan = Numbers().plan(4, seed=3, epoch=5, shuffle=True)
    assert [len(index) for index in plan] == [4, 4, 2]
    assert sorted(torch.cat(plan).tolist()) == list(range(10))


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(Numbers().plan(3, seed, epoch, shuffle=True)).tolist()

    torch.manual_seed(1)
    first = order(0, 1)
    torch.manual_seed(2)
    assert order(0, 1) == first
    # seed + epoch as a single number would repeat seed 0's second epoch as seed 1's first
    assert order(1, 0) != first
    assert order(0, 2) != first


def test_without_shuffling_the_order_is_the_stored_one():
    assert torch.cat(Numbers().plan(4, seed=3, epoch=5, shuffle=False)).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("name", "settings", "shared"),
    [
        ("sorting", {"test_examples": 20}, False),
        ("maze", {"size": 4, "test_mazes": 20}, False),
        ("language", {"corpus": "own.txt", "context": 8}, True),
    ],
)
def test_the_fingerprint_tells_whether_two_seeds_are_tested_on_the_same_examples(
    name, settings, shared, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text(" ".join(map(str, range(800))), encoding="utf-8")
    config = build(entry(name).config, settings, "task")
    prints = [entry(name).data(config, seed).split("test").fingerprint() for seed in (0, 0, 1)]
    assert prints[0] == prints[1]
    assert (prints[1] == prints[2]) == shared


def test_every_listed_task_has_an_entry_of_its_name():
    for name in TASKS:
        found = entry(name)
        assert found.name == found.task.name == name
        assert issubclass(found.data, TaskData)
        assert found.summary


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"task=sortng: unknown; choose one of .*sorting"):
        entry("sortng")


def test_task_names_do_not_import_torch():
    code = "import sys, headwise.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Neighbourly(SortingTask):
    """Sorting in which the elements see those of their own kind, visible or not."""

    def layout(self, batch: Batch) -> Layout:
        return Layout(relations={"kind": batch["visible"][:, :, None] == batch["visible"][:, None, :]})


def test_what_a_task_says_of_its_layout_reaches_the_heads_in_training_and_in_scoring():
    shape = ModelConfig(width=16, heads=2, ffn=16, structural_heads=1)
    config = SortingConfig(length=5, test_examples=10)
    source = entry("sorting").data(config, 0).split("test")
    arm = Arm(refinement=RefinementConfig(steps=2, injection="input"))
    model = TaskModel(Neighbourly(config, {}, 16), Backbone(shape, arm))
    batch = source.batch(torch.arange(10))
    x, _ = model.task.embed(batch)
    seen = model.backbone(x, model.task.layout(batch)).states
    every = Layout(relations={"kind": torch.ones(1, 5, 5).bool()})
    assert not torch.allclose(seen, model.backbone(x, every).states)
    torch.testing.assert_close(model(batch).states, seen)
    scored = score(model, source, 4).metrics["rank_tau"]
    torch.testing.assert_close(scored, model.task.metrics(model.task.read_out(seen[-1], batch), batch)["rank_tau"])


@pytest.mark.parametrize("name", TASKS)
def test_the_primary_metric_has_one_direction(name: str):
    task = entry(name).task
    assert (task.metric in task.lower_is_better) == (not task.higher_is_better)


class Echo(nn.Module):
    """Stands in for a backbone: returns what it was given."""

    def forward(self, x, mask, carry, gates, record):
        return x, mask, carry, gates, record


def test_the_model_embeds_and_hands_everything_else_to_the_backbone():
    config = SortingConfig(length=5)
    batch = generate(config, 3, [0])
    task = SortingTask(config, {}, 16)
    model = TaskModel(task, Echo())
    x, layout, *rest = model(batch, carry="carry", gates="gates", record=True)
    assert x.shape == (3, 5, 16)
    assert layout == Layout()
    assert rest == ["carry", "gates", True]
    assert not hasattr(model, "role")
    assert not hasattr(task, "role")
