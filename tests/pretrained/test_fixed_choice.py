"""The best fixed choice is the cheapest of its candidates on blocks that they were not made from."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from headwise.models.arm import Arm
from headwise.pretrained.choices import calibrate, separating
from headwise.pretrained.fixed_choice import best_fixed_choice
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
    gradient = head_measures(routed, SEEN, NextToken())["gradient"]
    found = []
    for levels in (calibrate(routed, SEEN).levels, [layer.log() for layer in gradient]):
        found.append([layer > separating(layer, share) for layer in levels])
        if over_model:
            cut = separating(torch.cat(levels), share)
            found.append([layer > cut for layer in levels])
    return found


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
