"""What analyses look at is what was scored; which examples are drawn; gates at their mean."""

import pytest
import torch

from headwise.models.arm import Arm
from headwise.reasoning.initial_states import RandomState
from headwise.reasoning.refinement import RefinementConfig
from headwise.routing.gates import Sigmoid
from headwise.routing.routers import LearnedRouter
from headwise.tasks import examined
from headwise.tasks.base import Batch, Source, TaskModel
from headwise.tasks.examined import First, GateSums, Spread, at_mean_gates, batches_of, chosen
from headwise.training.building import build_model, data_of
from headwise.training.config import RunConfig
from headwise.training.configuration import load
from headwise.training.scoring import score

WORDS = ["task=sudoku_4", "model.width=16", "model.heads=8", "model.ffn=16", "device=cpu"]
WORDS += [f"task.{split}_puzzles=12" for split in ("train", "validation", "test")]


def built(arm: Arm) -> tuple[TaskModel, RunConfig]:
    torch.manual_seed(0)
    config = load(WORDS)
    model = build_model(RunConfig(task=config.task, arm=arm, model=config.model, device="cpu"), data_of(config).facts)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval(), config


def answers(model: TaskModel, config: RunConfig, size: int) -> torch.Tensor:
    source, task = data_of(config).split("test"), model.task
    return torch.cat([task.read_out(model(batch).states[-1], batch) for batch in batches_of(model, source, size)])


@torch.no_grad()
def test_what_is_random_is_drawn_as_it_was_when_the_examples_were_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = RefinementConfig(steps=2, injection="input", initial_state=RandomState())
    model, config = built(Arm(refinement=loop))
    source = data_of(config).split("test")
    scored = score(model, source, 5, look=lambda prediction, batch, trace: {"scores": prediction}).looked["scores"]
    torch.testing.assert_close(answers(model, config, 7), scored)
    monkeypatch.setattr(examined, "KEYS", "of nobody")  # planted: all examples draw alike
    assert not torch.allclose(answers(model, config, 7), scored)


def test_gates_at_their_mean_are_those_of_every_step_and_layer() -> None:
    """A router per layer has the same gates for every example, so that its mean changes nothing."""
    for granularity, same in (("layer", True), ("token", False)):
        arm = Arm(LearnedRouter(granularity), Sigmoid(), refinement=RefinementConfig(steps=3, injection="input"))
        model, config = built(arm)
        source, sums = data_of(config).split("test"), GateSums()
        for batch in batches_of(model, source, 5):
            sums.add(model(batch, record=True))
        assert sums.examples == [12.0] * 3
        plain = score(model, source, 12).means()["blanks"]
        found = at_mean_gates(model, batches_of(model, source, 5), sums, ["blanks"])
        assert (found["blanks_mean_gates"] == pytest.approx(plain)) == same, granularity


def test_half_of_the_pictures_show_mistakes_as_far_as_there_are() -> None:
    assert chosen(torch.tensor([1, 1, 1, 0, 1, 0, 0.0])) == [0, 1, 3, 5]
    assert chosen(torch.tensor([1, 1, 1, 1, 0.0])) == [0, 1, 2, 4]
    assert chosen(torch.tensor([1.0, 0, 1, 1, 0, 0])) == [0, 1, 2, 4]
    assert chosen(torch.zeros(6)) == [0, 1, 2, 3]
    assert chosen(torch.ones(2)) == [0, 1]


class Numbers(Source):
    """Examples 0 to 9, in order, as the sentences of a corpus that begins with its longest."""

    def __len__(self) -> int:
        return 10

    def batch(self, index: torch.Tensor) -> Batch:
        return {"number": index}

    def names(self, index: int) -> list[str]:
        return [str(index)]


def test_a_sample_has_examples_from_all_parts_of_a_source_each_once_and_with_its_words() -> None:
    for count, expected in ((3, [0, 3, 6]), (10, list(range(10))), (99, list(range(10)))):
        sample = Spread(Numbers(), count)
        index = torch.arange(len(sample))
        assert sample.batch(index)["number"].tolist() == expected
        assert [int(sample.names(i)[0]) for i in index.tolist()] == expected
    assert First(Numbers(), 3).batch(torch.arange(3))["number"].tolist() == [0, 1, 2]
