"""The ways of choosing that are compared. A way makes its rule from what was seen on the calibration texts."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from headwise.pretrained import choices
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.warm_start import HELD_OUT, Fit, place, predict, warm_start
from headwise.routing.routers import Learned

UNTOUCHED = "untouched"
FOR_MEANS = 20
"""Calibration blocks that means are taken of; routers are fitted to all."""


class Sources:
    """What the ways of one seed are made from, each computed when it is first asked for.

    Args:
        retrofitted: with learned routers and the gate `unit`.
        texts: the calibration blocks [N, L].
        seed: of what is random.
    """

    def __init__(self, retrofitted: Retrofitted, texts: Tensor, seed: int) -> None:
        self.retrofitted, self.seed, self.batches = retrofitted, seed, [texts[n : n + 1] for n in range(len(texts))]

    @cached_property
    def seen(self) -> choices.Calibration:
        """What heads contribute, with every head on."""
        return choices.calibrate(self.retrofitted, self.batches[:FOR_MEANS])

    @cached_property
    def routers(self) -> tuple[list[Tensor], list[Fit]]:
        """Constants of the routers as they were fitted, and how well they predict."""
        fits = warm_start(self.retrofitted, self.batches, keep=min(site.heads for site in self.retrofitted.sites))
        return [_constant(router).clone() for router in self.retrofitted.routers], fits

    @cached_property
    def predicted(self) -> list[Tensor]:
        """What the fitted routers say of the held-out calibration blocks."""
        self._restore()
        held_out = [{"input_ids": batch} for batch in self.batches[HELD_OUT - 1 :: HELD_OUT]]
        return predict(self.retrofitted, held_out)

    def placed(self, keep: int | None, share: float | None) -> choices.Rule:
        """The fitted routers, at so many heads."""
        predicted = self.predicted
        self._restore()
        place(self.retrofitted, predicted, self.seen.lengths, keep, share)
        return choices.routed(self.retrofitted)

    def _restore(self) -> None:
        for router, constant in zip(self.retrofitted.routers, self.routers[0], strict=True):
            _constant(router).copy_(constant)

    def share(self, keep: int) -> float:
        """k heads of each layer as a share of all heads."""
        sites = self.retrofitted.sites
        return keep * len(sites) / sum(site.heads for site in sites)


def _constant(router: object) -> Tensor:
    assert isinstance(router, Learned)
    assert router.of_input is not None
    return router.of_input.bias.data


@dataclass(frozen=True)
class Way:
    """One way of choosing.

    Attributes:
        name: of what it ranks heads by.
        when: once, or at each token.
        counted: whether each layer keeps as many, or all layers together.
        rule: from the sources of a seed and the number of heads.
    """

    name: str
    when: str
    counted: str
    rule: Callable[[Sources, int], choices.Rule]

    @property
    def label(self) -> str:
        """Its name in files."""
        return f"{self.name}, {self.when}, {self.counted}"


LAYER, ALL = "per layer", "over layers"
WAYS = (
    Way("mean contribution", "once", LAYER, lambda at, k: choices.static(at.seen.means, k, None)),
    Way("mean contribution", "once", ALL, lambda at, k: choices.static(at.seen.levels, None, at.share(k))),
    Way("chance", "each token", LAYER, lambda at, k: choices.chance(k, at.seed)),
    Way("router in closed form", "each token", LAYER, lambda at, k: at.placed(k, None)),
    Way("router in closed form", "each token", ALL, lambda at, k: at.placed(None, at.share(k))),
    Way("oracle", "each token", LAYER, lambda at, k: choices.oracle(at.seen, k, None)),
    Way("oracle", "each token", ALL, lambda at, k: choices.oracle(at.seen, None, at.share(k))),
)
