"""The ways of choosing that are compared. A way makes its rule from what was seen on the calibration texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from headwise.pretrained import choices
from headwise.pretrained.fixed_choice import LittleByLittle
from headwise.pretrained.importance import head_measures
from headwise.pretrained.objectives import GRADIENT, SECOND, Objective
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.warm_start import Fitted, fit, place, predict
from headwise.routing.routers import Learned


class Sources:
    """What the ways of one seed are made from, each computed when it is first asked for.

    Args:
        retrofitted: with learned routers and the gate `unit`.
        examples: of the calibration text, [1, L] each.
        objective: what importance is measured by.
        seed: of what is random.
    """

    def __init__(self, retrofitted: Retrofitted, examples: Sequence[Tensor], objective: Objective, seed: int) -> None:
        self.retrofitted, self.examples, self.objective, self.seed = retrofitted, examples, objective, seed

    @cached_property
    def seen(self) -> choices.Calibration:
        """What heads contribute, with every head on."""
        return choices.calibrate(self.retrofitted, self.examples)

    @cached_property
    def importance(self) -> dict[str, list[Tensor]]:
        """Measures of every head from the derivatives of its gates: name -> [H] of each layer."""
        return head_measures(self.retrofitted, self.examples, self.objective)

    @cached_property
    def little(self) -> LittleByLittle:
        """Ever fewer heads, what is left measured again; layers may keep different numbers."""
        first = self.importance[SECOND]
        return LittleByLittle(self.retrofitted, self.examples, self.objective, over_model=True, first=first)

    @cached_property
    def fitted(self) -> tuple[Fitted, list[Tensor], list[Tensor]]:
        """The routers' fit, their constants as they were fitted, and what they say of the held-out blocks."""
        found = fit(self.retrofitted, self.examples)
        constants = [_constant(router).clone() for router in self.retrofitted.routers]
        return found, constants, predict(self.retrofitted, found.held_out)

    def placed(self, keep: int | None, share: float | None) -> choices.Rule:
        """The fitted routers, at so many heads."""
        found, constants, predicted = self.fitted
        for router, constant in zip(self.retrofitted.routers, constants, strict=True):
            _constant(router).copy_(constant)
        place(self.retrofitted, predicted, found.lengths, keep, share)
        return choices.routed(self.retrofitted)

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
        random: whether it is measured for every seed; the others' calibration text is that of seed 0.
    """

    name: str
    when: str
    counted: str
    rule: Callable[[Sources, int], choices.Rule]
    random: bool = False

    @property
    def label(self) -> str:
        """Its name in files."""
        return f"{self.name}, {self.when}, {self.counted}"


LAYER, ALL = "per layer", "over layers"
WAYS = (
    Way("mean contribution", "once", LAYER, lambda at, k: choices.static(at.seen.means, k, None)),
    Way("mean contribution", "once", ALL, lambda at, k: choices.static(at.seen.levels, None, at.share(k))),
    Way("gate gradient", "once", LAYER, lambda at, k: choices.static(at.importance[GRADIENT], k, None)),
    Way("gate gradient", "once", ALL, lambda at, k: choices.static(at.importance[GRADIENT], None, at.share(k))),
    Way("second order", "once", LAYER, lambda at, k: choices.static(at.importance[SECOND], k, None)),
    Way("second order", "once", ALL, lambda at, k: choices.static(at.importance[SECOND], None, at.share(k))),
    Way(
        "little by little", "once", ALL, lambda at, k: choices.static(at.little.down_to(at.share(k)), None, at.share(k))
    ),
    Way("chance", "each token", LAYER, lambda at, k: choices.chance(k, at.seed), True),
    Way("router in closed form", "each token", LAYER, lambda at, k: at.placed(k, None), True),
    Way("router in closed form", "each token", ALL, lambda at, k: at.placed(None, at.share(k)), True),
    Way("oracle", "each token", LAYER, lambda at, k: choices.oracle(at.seen, k, None)),
    Way("oracle", "each token", ALL, lambda at, k: choices.oracle(at.seen, None, at.share(k))),
)
