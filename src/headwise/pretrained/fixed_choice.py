"""The best choice of heads that is the same at every token, so that what chooses per token is compared with one that
was given as much care.

Legend: L length, H heads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headwise.pretrained.choices import calibrate, separating
from headwise.pretrained.importance import head_measures
from headwise.pretrained.objectives import GRADIENT, SECOND, NextToken
from headwise.pretrained.retrofit import Retrofitted

HELD_OUT = 4
"""One block of so many is left out of what heads are ranked from: candidates are compared on it."""


def best_fixed_choice(
    retrofitted: Retrofitted, language_model: nn.Module, blocks: Sequence[Tensor], share: float, over_model: bool
) -> list[Tensor]:
    """The cheapest of some candidates on held-out blocks. They rank heads by their mean log contribution, by their mean
    gate gradient or by what their absence costs to second order, and keep as many in each layer or, where that is
    allowed, a share of all.

    Args:
        retrofitted: the model with routers, within the language model.
        language_model: gives `logits`.
        blocks: tokens [1, L] each, two at least; one of four is held out.
        share: of the heads that are on; one head in each layer, or in the model, is the least.
        over_model: whether layers may keep different numbers.

    Returns:
        [H] of each layer: positive where a head is on, a difference of logarithms (`_logarithmic`).

    Raises:
        ValueError: a single block.
    """
    if len(blocks) < 2:
        raise ValueError(f"{len(blocks)} block to choose heads from; choose 2 or more, as one is held out")
    held_out = list(blocks[::HELD_OUT])
    seen = [block for number, block in enumerate(blocks) if number % HELD_OUT]
    measures = head_measures(retrofitted, seen, NextToken(), language_model)
    ranked = [calibrate(retrofitted, seen).levels, *(_logarithmic(measures[name]) for name in (GRADIENT, SECOND))]
    counted = (False, True) if over_model else (False,)
    candidates = [_parted(levels, share, over) for over in counted for levels in ranked]
    return min(candidates, key=lambda levels: _cost(retrofitted, language_model, held_out, levels))


def _logarithmic(measure: Sequence[Tensor]) -> list[Tensor]:
    """A measure on a scale that is logarithmic far from zero, and keeps its sign and order: a head may do harm."""
    middle = torch.cat(list(measure)).abs().median().clamp_min(torch.finfo(torch.float64).tiny)
    return [torch.asinh(layer / middle).float() for layer in measure]


def _parted(levels: Sequence[Tensor], share: float, over_model: bool) -> list[Tensor]:
    """The levels less what parts the heads that are on from those that are off, in each layer or over the model."""
    together = separating(torch.cat(list(levels)), share) if over_model else None
    return [layer - (separating(layer, share) if together is None else together) for layer in levels]


@torch.no_grad()
def _cost(
    retrofitted: Retrofitted, language_model: nn.Module, blocks: Sequence[Tensor], levels: Sequence[Tensor]
) -> float:
    """Nats a token with the heads of positive level."""
    weight = next(language_model.parameters())
    objective, moved = NextToken(), [block.to(weight.device) for block in blocks]
    with retrofitted.forced([(layer > 0).to(weight) for layer in levels]):
        return objective.value([objective.keep(language_model(input_ids=block), block) for block in moved])
