"""The best choice of heads that is the same at every token, so that what chooses per token is compared with one that
was given as much care.

Legend: L length, H heads.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headwise.pretrained.choices import calibrate, separating
from headwise.pretrained.importance import head_measures
from headwise.pretrained.objectives import GRADIENT, SECOND, NextToken, Objective
from headwise.pretrained.retrofit import Retrofitted

HELD_OUT = 4
"""One block of so many is left out of what heads are ranked from: candidates are compared on it."""
STEP = 1 / 20
"""Share of all heads that is left out at once: SmolLM2-135M's fixed 7 of 9 cost a third less so, in tenths not less."""


def best_fixed_choice(
    retrofitted: Retrofitted, language_model: nn.Module, blocks: Sequence[Tensor], share: float, over_model: bool
) -> list[Tensor]:
    """The cheapest of some candidates on held-out blocks. They rank heads by their mean log contribution, by their mean
    gate gradient or by what their absence costs to second order, and keep as many in each layer or, where that is
    allowed, a share of all; or leave out little by little (`LittleByLittle`).

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
    little = LittleByLittle(retrofitted, seen, NextToken(), over_model, language_model, measures[SECOND])
    candidates.append(little.down_to(share))
    return min(candidates, key=lambda levels: _cost(retrofitted, language_model, held_out, levels))


class LittleByLittle:
    """Falling shares of heads: a twentieth of all is left out, then what the others are worth is measured again, by
    the second order, as heads do each other's work.

    Args:
        retrofitted: the model with routers.
        blocks: tokens [1, L] each.
        objective: what importance is measured by.
        over_model: whether layers may keep different numbers.
        whole: the model around it, where the objective needs its output; default none.
        first: [H] of each layer, the second order with every head on, where it is known; default it is measured.
    """

    def __init__(
        self,
        retrofitted: Retrofitted,
        blocks: Sequence[Tensor],
        objective: Objective,
        over_model: bool,
        whole: nn.Module | None = None,
        first: Sequence[Tensor] | None = None,
    ) -> None:
        self.retrofitted, self.blocks, self.objective = retrofitted, blocks, objective
        self.over_model, self.whole = over_model, whole
        self._levels = [[torch.ones(site.heads) for site in retrofitted.sites]]  # as `down_to` returns, at each step
        self._measured = [] if first is None else [_logarithmic(first)]  # [H] of each layer, with the heads on then

    def down_to(self, share: float) -> list[Tensor]:
        """[H] of each layer, as `best_fixed_choice` returns; of a head that is off, as when it was left out.

        What was measured for another share is not measured again.
        """
        steps = max(math.ceil((1 - share) / STEP - 1e-9), 1)
        for step in range(len(self._measured), steps):
            if step:
                self._levels.append(self._without(step - 1, 1 - STEP * step))
            on = [layer > 0 for layer in self._levels[step]]
            found = head_measures(self.retrofitted, self.blocks, self.objective, self.whole, on)
            self._measured.append(_logarithmic(found[SECOND]))
        return self._without(steps - 1, share)

    def _without(self, step: int, share: float) -> list[Tensor]:
        """The levels with fewer heads than at a step."""
        before, measured = self._levels[step], self._measured[step]
        last = min(float(layer.min()) for layer in measured) - 1
        fresh = _parted(
            [own.masked_fill(old <= 0, last) for old, own in zip(before, measured, strict=True)], share, self.over_model
        )
        return [torch.where(old > 0, new, old) for old, new in zip(before, fresh, strict=True)]


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
