"""What is watched is what the model did: answers, gates, where heads look, halting."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import headwise
from headwise.errors import InputError
from headwise.lab.show.choose import CHOICES, Looked, choose, chosen
from headwise.lab.show.watch import watch
from headwise.models.following import following
from headwise.routing.attention import LayerMemory, RoutedAttention
from headwise.tasks import TASKS
from headwise.training.opened import OpenRun
from headwise.training.scoring import score
from tests.lab.show.untrained import LOOPED, model_of
from tests.training.recipes import GUMBEL, PONDER, SEGMENTS, tiny

TRM = {
    "refinement": {
        "recursion": {"name": "two_streams", "period": 3, "networks": 2},
        "initial_state": {"name": "fixed"},
        "steps": 6,
        "segments": 2,
    },
}
JUDGED = {
    "halting": {"name": "correct", "threshold": 0.001},
    "refinement": {"steps": 2, "segments": 3, "injection": "input"},
}
REUSED = {
    "router": {"name": "learned", "granularity": "token"},
    "refinement": {"steps": 3, "injection": "input", "reuse": "heads"},
}


Runs = Callable[[dict[str, Any]], OpenRun]


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Trains each arm once, and opens its run anew each time."""
    trained = dict[str, Path]()

    def opened(arm: dict[str, Any]) -> OpenRun:
        if str(arm) not in trained:
            config = tiny(tmp_path_factory.mktemp("runs"), arm, updates=8, validate_every=8)
            seen = replace(config, task=replace(config.task, mask_rate=0.0))  # masked elements are alike, and tie
            trained[str(arm)] = Path(headwise.train(seen, progress=False))
        return headwise.open_run(trained[str(arm)])

    return opened


@pytest.mark.parametrize("arm", [GUMBEL, PONDER, SEGMENTS, TRM, JUDGED, {}], ids=lambda arm: str(arm)[:40])
def test_the_last_answer_is_the_one_that_is_scored(arm: dict[str, Any], run_of: Runs) -> None:
    run = run_of(arm)
    scored = score(run.model, run.data.split("test"), 32)
    for number in (0, 5):
        watched = watch(run.model, run.example(number))
        for name, value in watched.metrics[-1].items():
            assert value == pytest.approx(float(scored.metrics[name][number]), abs=1e-5, nan_ok=True), name
        assert watched.numbers[-1] == scored.steps[number]
        assert watched.halted == (watched.numbers[-1] < watched.most)
        assert len(watched.metrics) == len(watched.residual) == len(watched.scene.answers) == len(watched.numbers)


@pytest.mark.parametrize("arm", [GUMBEL, PONDER, SEGMENTS])
def test_the_gates_are_those_of_the_run(arm: dict[str, Any], run_of: Runs) -> None:
    run = run_of(arm)
    example = run.example(3)
    gates = watch(run.model, example).gates
    assert gates is not None
    expected = run.gates(example.batch)
    torch.testing.assert_close(gates.expand_as(expected), expected)


def test_of_two_streams_the_steps_that_update_the_answer_are_watched(run_of: Runs) -> None:
    run = run_of(TRM)
    watched = watch(run.model, run.example())
    assert watched.numbers == [3, 6, 9, 12]
    assert watched.gates is None
    assert watched.looks is not None
    assert watched.looks.shape[:3] == (4, 1, 2)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "pretrained"])
def test_where_heads_look_times_values_is_what_they_bring_back(name: str) -> None:
    """Looks are attention weights: with the layer's own values they give its head outputs, in masked, causal and
    structural heads alike."""
    model, example = model_of(name)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def note(module: RoutedAttention, args: Sequence[Any]) -> None:
        x, gates, mask, memory = args
        whole = module.keys_values(x)
        seen.append((module.heads(x, whole, mask, gates), module.looks(x, gates, mask, memory), whole.values))

    layers = [module for module in model.modules() if isinstance(module, RoutedAttention)]
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    watched = watch(model, example)
    for handle in handles:
        handle.remove()
    assert watched.looks is not None
    for number, (heads, looks, values) in enumerate(seen):
        torch.testing.assert_close(looks @ values, heads.transpose(1, 2), atol=1e-5, rtol=1e-4)
        step, layer = divmod(number, 2)
        torch.testing.assert_close(watched.looks[step, layer], looks[0])
        assert looks.sum(-1).max() <= 1 + 1e-5


def test_composed_heads_look_where_the_others_lend_them() -> None:
    torch.manual_seed(0)
    attention = RoutedAttention(16, 4, composition_rank=2).eval()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        x = torch.randn(2, 5, 16)
        memory = attention.keys_values(x)
        looks = attention.looks(x, torch.ones(2, 5, 4))
        heads = attention.heads(x, LayerMemory(memory.keys, memory.values), None, torch.ones(2, 5, 4))
    torch.testing.assert_close(looks @ memory.values, heads.transpose(1, 2), atol=1e-5, rtol=1e-4)


def test_heads_that_are_used_again_looked_where_they_did_at_the_first_step() -> None:
    model, example = model_of("sorting", REUSED)
    looks = watch(model, example).looks
    assert looks is not None
    assert torch.equal(looks[0], looks[2])
    again = watch(model_of("sorting", LOOPED)[0], example).looks
    assert again is not None
    assert not torch.equal(again[0], again[2])


def test_what_halting_says_is_kept_for_each_answer(run_of: Runs) -> None:
    run = run_of(PONDER)
    watched = watch(run.model, run.example())
    said = [value for value in watched.halting if value is not None]
    assert len(said) == len(watched.numbers)
    assert sorted(said) == said, "the probability of having stopped only grows"
    assert (said[-1] >= 0.5) == watched.halted or watched.numbers[-1] == watched.most
    assert all(value < 0.5 for value in said[:-1])


def test_following_leaves_no_hook_behind() -> None:
    model, example = model_of("sorting")
    with following(model.backbone, looks=True):
        pass
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert sum(hooks) == 0
    with torch.no_grad():
        model(example.batch)


def looked(value: list[float], steps: list[float], since: list[int]) -> Looked:
    return Looked(torch.tensor(value), 1.0, torch.tensor(steps), torch.tensor(since))


def test_examples_are_chosen_by_what_became_of_them() -> None:
    seen = looked([0, 1, 1, 0, 1], [4, 4, 2, 4, 4], [0, 2, 1, 0, 4])
    assert {what: choose(seen, what) for what in CHOICES} == {
        "first": 0,
        "solved": 1,
        "failed": 0,
        "halted": 2,
        "latest": 4,
    }
    alike = looked([1, 1], [3, 3], [1, 1])
    assert {what: choose(alike, what) for what in CHOICES if what != "first"} == {
        "solved": 0,
        "failed": None,
        "halted": None,
        "latest": None,
    }


def test_an_example_of_a_kind_that_there_is_not_is_refused(run_of: Runs) -> None:
    run = run_of(GUMBEL)
    with pytest.raises(InputError, match=r"choose=halted: of the first 32 test examples all take as many steps"):
        chosen(run, "halted")
    with pytest.raises(InputError, match=r"example=32: the test split has 32; choose 0\.\.31"):
        run.example(32)
