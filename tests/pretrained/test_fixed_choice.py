"""The best fixed choice is the cheapest of its candidates on blocks that they were not made from."""

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from headwise.models.arm import Arm
from headwise.pretrained import fixed_choice
from headwise.pretrained.choices import Calibration, calibrate, separating
from headwise.pretrained.fixed_choice import LittleByLittle, best_fixed_choice
from headwise.pretrained.importance import head_measures
from headwise.pretrained.objectives import NextToken
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.pretrained.tiny import load as tiny_model
from headwise.routing.fixed_routers import StaticRouter
from headwise.tasks.pretrained.language_model import logits_of, nats

BLOCKS = list(torch.randint(0, 256, (8, 1, 24), generator=torch.Generator().manual_seed(0)))
SEEN, HELD_OUT = [b for n, b in enumerate(BLOCKS) if n % 4], [BLOCKS[0], BLOCKS[4]]


@pytest.fixture
def routed() -> Iterator[Retrofitted]:
    model, _ = tiny_model()
    added = retrofit(model.double(), Arm(StaticRouter(2)))
    yield added
    added.remove()


@torch.no_grad()
def cost(routed: Retrofitted, gates: list[Tensor], blocks: list[Tensor]) -> float:
    with routed.forced([gate.double() for gate in gates]):
        return float(torch.stack([nats(logits_of(routed.model, block), block).mean() for block in blocks]).mean())


def candidates(routed: Retrofitted, share: float, over_model: bool) -> list[list[Tensor]]:
    measures = head_measures(routed, SEEN, NextToken())
    found = []
    for levels in (calibrate(routed, SEEN).levels, measures["gradient"], measures["second_order"]):
        found.append([layer > separating(layer, share) for layer in levels])
        if over_model:
            cut = separating(torch.cat(levels), share)
            found.append([layer > cut for layer in levels])
    little = LittleByLittle(routed, SEEN, NextToken(), over_model)
    return [*found, [layer > 0 for layer in little.down_to(share)]]


@pytest.mark.parametrize("share", [0.25, 0.5])
@pytest.mark.parametrize("over_model", [False, True])
def test_it_is_the_cheapest_of_its_candidates_on_held_out_blocks(
    routed: Retrofitted, share: float, over_model: bool
) -> None:
    chosen = [layer > 0 for layer in best_fixed_choice(routed, routed.model, BLOCKS, share, over_model)]
    costs = [cost(routed, gates, HELD_OUT) for gates in candidates(routed, share, over_model)]
    assert cost(routed, chosen, HELD_OUT) == pytest.approx(min(costs), abs=1e-9)
    assert sum(int(layer.sum()) for layer in chosen) == round(share * sum(len(layer) for layer in chosen))
    if over_model:
        assert max(costs) > min(costs)  # there is something to choose
    else:
        assert len({int(layer.sum()) for layer in chosen}) == 1


def test_it_leaves_the_model_as_it_was(routed: Retrofitted) -> None:
    before = logits_of(routed.model, BLOCKS[0])
    best_fixed_choice(routed, routed.model, BLOCKS, 0.5, True)
    assert torch.equal(logits_of(routed.model, BLOCKS[0]), before)
    assert all(parameter.grad is None for parameter in routed.model.parameters())


def test_a_single_block_is_refused(routed: Retrofitted) -> None:
    with pytest.raises(ValueError, match="1 block to choose heads from; choose 2 or more"):
        best_fixed_choice(routed, routed.model, BLOCKS[:1], 0.5, True)


# Of two layers of four heads, by each measure: what is kept of half of them in each, and over both
LEVELS = [torch.tensor([4.0, 3, 2, 1]), torch.tensor([8.0, 7, 6, 5])]
GRADIENTS = [torch.tensor([1.0, 5, 2, 6]), torch.tensor([0.1, 0.5, 0.4, 0.2])]
SECOND = [torch.tensor([-3.0, -1, 2, -2]), torch.tensor([-8.0, 9, 1, 7])]
LITTLE = [torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, -1, 1, -1])]
CHOICES = {
    "little by little": ([1, 0, 1, 0], [1, 0, 1, 0]),
    "contribution, per layer": ([1, 1, 0, 0], [1, 1, 0, 0]),
    "gradient, per layer": ([0, 1, 0, 1], [0, 1, 1, 0]),
    "contribution, over the model": ([0, 0, 0, 0], [1, 1, 1, 1]),
    "gradient, over the model": ([1, 1, 1, 1], [0, 0, 0, 0]),
    "second order, per layer": ([0, 1, 1, 0], [0, 1, 0, 1]),
    "second order, over the model": ([0, 0, 1, 0], [0, 1, 1, 1]),
}


@pytest.mark.parametrize("over_model", [False, True])
@pytest.mark.parametrize("cheapest", CHOICES)
def test_each_candidate_is_taken_where_it_is_the_cheapest(
    routed: Retrofitted, cheapest: str, over_model: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, tried = [], []
    measured_so = {"gradient": GRADIENTS, "second_order": SECOND}

    def cost(retrofitted: Retrofitted, model: object, blocks: list[Tensor], levels: list[Tensor]) -> float:
        tried.append([block.sum().item() for block in blocks])
        gates = tuple((layer > 0).int().tolist() for layer in levels)
        return 0.0 if gates == CHOICES[cheapest] else 1.0

    def seen(retrofitted: Retrofitted, blocks: list[Tensor], *_: object) -> list[float]:
        measured.append([block.sum().item() for block in blocks])
        return measured[-1]

    def little_by_little(*given: object) -> LittleByLittle:
        little = LittleByLittle(*given)
        monkeypatch.setattr(little, "down_to", lambda share: LITTLE)
        return little

    monkeypatch.setattr(fixed_choice, "_cost", cost)
    monkeypatch.setattr(fixed_choice, "LittleByLittle", little_by_little)
    monkeypatch.setattr(fixed_choice, "calibrate", lambda *given: seen(*given) and Calibration([], LEVELS, [], []))
    monkeypatch.setattr(fixed_choice, "head_measures", lambda *given: seen(*given) and measured_so)
    chosen = best_fixed_choice(routed, routed.model, BLOCKS, 0.5, over_model)
    found = tuple((layer > 0).int().tolist() for layer in chosen)
    assert (found == CHOICES[cheapest]) == (over_model or "over" not in cheapest)
    assert measured == [[block.sum().item() for block in SEEN]] * 2
    assert tried == [[block.sum().item() for block in HELD_OUT]] * (7 if over_model else 4)


LEFT = {True: [8, 8, 7, 7, 6, 6, 6, 5, 5, 4], False: [8, 8, 8, 6, 6, 6, 6, 6, 4, 4]}
"""Heads that are on when the others are measured, over the model and as many in each layer."""


def doing_each_others_work(measured: list[list[bool]]) -> Callable[..., dict[str, list[Tensor]]]:
    """Measures by which the first two heads of the first layer are worth nothing, and all as soon as one is gone."""

    def measure(*given: object) -> dict[str, list[Tensor]]:
        (*_, on) = given
        measured.append(torch.cat(on).tolist())
        first, second = torch.tensor([0.1, 0.2, 4, 5]), torch.tensor([0.5, 2, 3, 6])
        if not on[0][:2].all():
            first[:2] = 9
        return {"second_order": [first, second]}

    return measure


@pytest.mark.parametrize("over_model", [True, False])
def test_what_is_left_is_measured_again_after_each_twentieth(
    routed: Retrofitted, over_model: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[list[bool]] = []
    monkeypatch.setattr(fixed_choice, "head_measures", doing_each_others_work(measured))
    little = LittleByLittle(routed, SEEN, NextToken(), over_model)
    half = (torch.cat(little.down_to(0.5)) > 0).tolist()
    assert half == ([0, 1, 1, 1, 0, 0, 0, 1] if over_model else [0, 1, 0, 1, 0, 0, 1, 1])
    assert [sum(on) for on in measured] == LEFT[over_model]
    for before, after in itertools.pairwise([*measured, half]):
        assert all(one >= two for one, two in zip(before, after, strict=True))
    more = torch.cat(little.down_to(0.75))
    assert len(measured) == 10  # nothing of that again
    assert (more > 0).tolist() == measured[5]
    off = more <= 0  # their levels are of when they were left out
    assert torch.equal(torch.cat(little.down_to(0.5))[off], more[off])
    known = LittleByLittle(routed, SEEN, NextToken(), over_model, first=[torch.tensor([0.1, 0.2, 4, 5])] * 2)
    known.down_to(0.95)
    assert len(measured) == 10
