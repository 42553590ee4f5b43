"""What one restart does: laws that every arm keeps, in double precision."""

from typing import Any

import numpy as np
import pytest
import torch

from headwise.lab.thinking.measure import digests, followed, restarted, set_thinking
from headwise.models.sizes import ModelConfig
from headwise.reasoning.depth import depth_of
from headwise.tasks.base import Source, TaskModel
from headwise.training.building import build_model, data_of
from headwise.training.config import RunConfig, task_from_plain
from tests.lab.thinking.conftest import MAZES, RANDOM, STREAMS
from tests.training.recipes import arm, recipe

HALTING = {
    "router": {"name": "learned", "granularity": "token"},
    "gate": {"name": "soft"},
    "halting": {"name": "entropy", "threshold": 0.9},
    "refinement": {"steps": 4, "injection": "input", "initial_state": {"name": "random"}},
}
ARMS = {"random": RANDOM, "streams": STREAMS, "halting": HALTING}
WALKED = MAZES | {"read_out": {"name": "next_cell"}}  # answers of several lengths
Built = tuple[RunConfig, TaskModel, Source]


def built(plain_arm: dict[str, Any], task: dict[str, Any] = MAZES, **training: Any) -> Built:
    """A model with random weights in double precision, and its test examples."""
    config = RunConfig(
        task=task_from_plain(task),
        arm=arm(plain_arm),
        model=ModelConfig(width=16, heads=2, ffn=16),
        training=recipe(**training),
        device="cpu",
    )
    data = data_of(config)
    torch.manual_seed(0)
    model = build_model(config, data.facts).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return config, model, data.split("test")


def thinking(one: Built, steps: Any, noise: float = 0.0, every: int = 1) -> None:
    set_thinking(one[1], depth_of(steps, one[0].arm.refinement), noise, every)


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize("task", [MAZES, WALKED], ids=["marks", "walks"])
def test_a_restart_does_not_depend_on_the_size_of_batches(name: str, task: dict[str, Any]) -> None:
    one = built(ARMS[name], task)
    thinking(one, "2x", noise=0.3)
    whole, single, parts = (restarted(*one, seed=3, batch_size=size) for size in (16, 1, 7))
    for other in (single, parts):
        assert (other.answer == whole.answer).all()
        assert (other.valid == whole.valid).all()
        assert (other.steps == whole.steps).all()
        np.testing.assert_allclose(other.residual, whole.residual, rtol=1e-9)
        for metric, values in whole.metrics.items():
            np.testing.assert_array_equal(other.metrics[metric], values)


@pytest.mark.parametrize(("plain_arm", "noise"), [(RANDOM, 0.0), (STREAMS, 0.1)])
def test_every_restart_is_a_draw_of_its_own_and_the_same_again(plain_arm: dict[str, Any], noise: float) -> None:
    one = built(plain_arm)
    thinking(one, "1x", noise=noise)
    first, second, again = (restarted(*one, seed=seed).residual for seed in (0, 1, 0))
    assert (first != second).all()
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", ARMS)
@pytest.mark.parametrize(("noise", "every"), [(0.0, 1), (0.2, 1), (0.2, 4)])
def test_a_run_that_is_followed_passes_through_what_runs_of_fewer_steps_come_to(
    name: str, noise: float, every: int
) -> None:
    one = built(ARMS[name])
    loop = one[0].arm.refinement
    most = 2 * loop.steps_in_all
    thinking(one, most, noise, every)
    seen = followed(*one, seed=5)
    assert seen.numbers == list(range(loop.recursion.cycle, most + 1, loop.recursion.cycle))
    whole = restarted(*one, seed=5)
    if name == "halting":
        assert len(set(whole.steps)) > 1  # some halted earlier than others
    for place in (0, 1, len(seen.numbers) - 1):
        if seen.numbers[place] > loop.steps and seen.numbers[place] % loop.steps:
            continue
        thinking(one, seen.numbers[place], noise, every)
        then = restarted(*one, seed=5)
        assert seen.answer is not None
        np.testing.assert_array_equal(seen.answer[place], then.answer)
        np.testing.assert_array_equal(seen.value[place], then.metrics["optimal"])
        # Of the last step, which moves the state less or more than the first
        np.testing.assert_allclose(seen.residual[place], then.residual, rtol=1e-9)


def test_what_is_kept_at_once_does_not_change_what_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    one = built(RANDOM)
    thinking(one, "2x")
    whole = followed(*one)
    monkeypatch.setattr("headwise.lab.thinking.measure.AT_ONCE", 1)
    single = followed(*one)
    np.testing.assert_allclose(single.residual, whole.residual, rtol=1e-9)
    np.testing.assert_array_equal(single.value, whole.value)


def test_equal_answers_have_equal_numbers_whatever_stands_behind_them() -> None:
    short, long = torch.tensor([[3, 1], [3, -1], [-1, -1]]), torch.tensor([[3, 1, -1, -1], [3, 1, 0, -1]])
    numbers = [*digests(short).tolist(), *digests(long).tolist()]
    assert numbers[0] == numbers[3]
    assert len(set(numbers)) == 4
