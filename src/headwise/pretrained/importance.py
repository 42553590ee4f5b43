"""How much each head of a pretrained model matters, and each key/value group: by what it adds to the layer's output, by
the derivatives of its gate, and, on request, by leaving it out.

Measures are cheap (one pass forward and back for each example) and only guesses; what a head is worth alone is what its
ablation says. The rank correlation of each measure with ablation says how good a guess it is on this model and text.

Legend: H heads, U units (heads, or key/value groups), L length, P scalars that are derived.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from scipy import stats
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.pretrained.contributions import observed
from headwise.pretrained.objectives import Objective
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.pretrained.sites import Site
from headwise.routing.routers import NoRouter

CONTRIBUTION = "contribution"
"""Mean over tokens of ||W_o,u out_u||, the length of what a unit adds to the layer's output."""
Progress = Callable[[str], None]
Ablations = MutableMapping[str, Sequence[float]]
"""`heads/<site>/<unit>` or `groups/...` -> what leaving the unit out costs, and the standard error of that."""


@dataclass(frozen=True)
class Agreement:
    """Spearman's rank correlation of a measure with ablation over `number` units.

    `interval` is about 95 %, None where there are too few.
    """

    correlation: float | None
    interval: tuple[float, float] | None
    number: int


@dataclass(frozen=True)
class Units:
    """What was measured of all heads, or of all key/value groups.

    Attributes:
        counts: U of each site.
        measures: name -> [U] of each site.
        ablation: (site, unit) -> cost of its ablation, mean over examples, and the standard error of that mean over
            examples; empty where none was asked for.
    """

    counts: Sequence[int]
    measures: Mapping[str, Sequence[Tensor]]
    ablation: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    def agreement(self) -> dict[str, Agreement]:
        """Each measure against ablation, where that was asked for."""
        change = [change for change, _ in self.ablation.values()]
        return {
            name: _agreement([float(values[site][unit]) for site, unit in self.ablation], change)
            for name, values in self.measures.items()
            if change
        }

    def to_plain(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {
            "measures": {name: [site.tolist() for site in values] for name, values in self.measures.items()},
            "ablation": [
                {"site": site, "unit": unit, "change": change, "error": error}
                for (site, unit), (change, error) in self.ablation.items()
            ],
            "agreement": {
                name: {"correlation": one.correlation, "interval": one.interval, "number": one.number}
                for name, one in self.agreement().items()
            },
        }


@dataclass(frozen=True)
class Importance:
    """What was measured of a model.

    Attributes:
        sites: names of the attention layers.
        heads: of every head.
        groups: of every key/value group, the heads that share keys and values; None where no heads do.
        value: the objective's of the untouched model, mean over examples: its loss, or the distance 0.
    """

    sites: Sequence[str]
    heads: Units
    groups: Units | None
    value: float


def importance(
    model: nn.Module,
    examples: Sequence[Tensor],
    objective: Objective,
    ablate: int | Literal["all"] | None = None,
    seed: int = 0,
    progress: Progress = lambda line: None,
    known: Ablations | None = None,
) -> Importance:
    """Measure the importance of every head and every key/value group; the model is left as it was.

    Args:
        model: a pretrained transformer without routers.
        examples: token numbers, int64 [1, L] each.
        objective: what importance is measured by.
        ablate: how many heads, and groups, are left out in turn for the true cost, each a pass over all examples;
            "all" for every one, null (default) for none.
        seed: of which are drawn.
        progress: is told what has been done, a line at a time.
        known: what was left out before, under the same settings but for `ablate`, which is not left out again; grows.

    Raises:
        InputError: no examples; `ablate` below 1 or above the number of heads; an attention layer that is not
            understood.
    """
    if not examples:
        raise InputError("no examples to measure importance on")
    with _unrouted(model) as routed:
        total = sum(site.heads for site in routed.sites)
        if ablate not in (None, "all") and not 1 <= int(ablate) <= total:
            raise InputError(f"ablate={ablate}: the model has {total} heads; choose 1..{total}, or all")
        kinds = {"heads": _Means(routed.sites)}
        if any(site.groups != site.heads for site in routed.sites):
            kinds["groups"] = _Means([_by_groups(site) for site in routed.sites])
        kept: list[Tensor] = []
        for number, tokens in enumerate(examples):
            kept.append(_measure(routed, tokens.to(_device(model)), number, objective, list(kinds.values())))
            progress(f"measures: {number + 1} of {len(examples)} examples")
        found, known = {}, {} if known is None else known
        for kind, means in kinds.items():
            drawn = _draw(means.counts, ablate, seed)
            ablation: dict[tuple[int, int], tuple[float, float]] = {}
            for site, unit in drawn:
                name = f"{kind}/{site}/{unit}"
                if name not in known:
                    known[name] = _ablate(routed, means.counts[site], site, unit, examples, objective, kept)
                cost, error = known[name]
                ablation[site, unit] = cost, error
                progress(f"ablation: {len(ablation)} of {len(drawn)} {kind}")
            found[kind] = Units(means.counts, means.result(objective), ablation)
        return Importance(
            [site.name for site in routed.sites], found["heads"], found.get("groups"), objective.value(kept)
        )


def head_measures(
    routed: Retrofitted,
    examples: Sequence[Tensor],
    objective: Objective,
    whole: nn.Module | None = None,
    on: Sequence[Tensor] | None = None,
) -> dict[str, list[Tensor]]:
    """The measures of every head of a model with routers: name -> [H] of each site.

    `whole` is the model around it, where the objective needs its output; default none. `on` says which heads are on,
    bool [H] of each site; default all. Derivatives by the gate of a head that is off are of its return.
    """
    means = _Means(routed.sites)
    for number, tokens in enumerate(examples):
        _measure(routed, tokens.to(_device(routed.model)), number, objective, [means], whole, on)
    return means.result(objective)


class _Means:
    """Running means over examples of the measures of all units; `sites` has a unit for a head."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites, self.counts = list(sites), [site.heads for site in sites]
        self.sums: dict[str, list[Tensor]] = {}
        self.number = 0

    def add(self, measures: Sequence[Mapping[str, Tensor]]) -> None:
        """The measures [U] of one example, by name, for each site."""
        self.number += 1
        for site, own in enumerate(measures):
            for name, value in own.items():
                sums = self.sums.setdefault(name, [torch.zeros(u, dtype=torch.float64) for u in self.counts])
                sums[site] += value.detach().double().cpu()

    def result(self, objective: Objective) -> dict[str, list[Tensor]]:
        """Means over examples, and what follows from them: name -> [U] of each site."""
        means = [
            {name: sums[site] / self.number for name, sums in self.sums.items()} for site in range(len(self.counts))
        ]
        whole = [own | objective.derived(own) for own in means]
        return {name: [own[name] for own in whole] for name in whole[0]}


def _by_groups(site: Site) -> Site:
    """The site with the heads that share keys and values, which lie side by side, as one wide head."""
    return replace(site, heads=site.groups, head_width=site.heads // site.groups * site.head_width)


def _measure(
    routed: Retrofitted,
    tokens: Tensor,
    number: int,
    objective: Objective,
    kinds: Sequence[_Means],
    whole: nn.Module | None = None,
    on: Sequence[Tensor] | None = None,
) -> Tensor:
    """One pass forward and back on one example: the measures of each kind of unit; returns what is kept of it."""
    gates = [
        torch.ones(1, tokens.shape[1], site.heads, dtype=_dtype(site), device=tokens.device) for site in routed.sites
    ]
    if on is not None:
        gates = [gate * own.to(gate) for gate, own in zip(gates, on, strict=True)]
    for gate in gates:
        gate.requires_grad_()
    lengths: dict[tuple[int, int], Tensor] = {}  # (kind, site) -> [U]
    with torch.enable_grad(), routed.forced(gates), ExitStack() as stack:
        for kind, means in enumerate(kinds):

            def see(site: int, x: Tensor, norms: Tensor, kind: int = kind) -> None:
                lengths[kind, site] = norms.mean((0, 1))

            stack.enter_context(observed(means.sites, see))
        output = (routed.model if whole is None else whole)(input_ids=tokens)
        kept = objective.keep(output, tokens).detach()
        scalars = objective.scalars(output, tokens, number)
        taken = [
            torch.autograd.grad(scalar, gates, retain_graph=place + 1 < len(scalars))
            for place, scalar in enumerate(scalars)
        ]
    gradients = [torch.cat(one) for one in zip(*taken, strict=True)]  # [P, L, H] of each site
    for kind, means in enumerate(kinds):
        means.add(
            [
                {CONTRIBUTION: lengths[kind, site]}
                | objective.measures(gradient.reshape(*gradient.shape[:-1], means.counts[site], -1).sum(-1))
                for site, gradient in enumerate(gradients)
            ]
        )
    return kept


def _draw(counts: Sequence[int], ablate: int | Literal["all"] | None, seed: int) -> list[tuple[int, int]]:
    """The units that are left out in turn, in their order."""
    units = [(site, unit) for site, count in enumerate(counts) for unit in range(count)]
    if ablate is None or ablate == "all":
        return units if ablate else []
    return sorted(random.Random(seed).sample(units, min(ablate, len(units))))


@torch.no_grad()
def _ablate(
    routed: Retrofitted,
    count: int,
    site: int,
    unit: int,
    examples: Sequence[Tensor],
    objective: Objective,
    kept: Sequence[Tensor],
) -> tuple[float, float]:
    """The cost of leaving out one of the `count` units of a site: mean over examples, and its standard error."""
    on = torch.ones(count, dtype=_dtype(routed.sites[site]))
    on[unit] = 0
    gates: list[Tensor | None] = [None] * len(routed.sites)
    gates[site] = on.repeat_interleave(routed.sites[site].heads // count)
    with routed.forced(gates):
        moved = [tokens.to(own.device) for tokens, own in zip(examples, kept, strict=True)]
        changes = [
            objective.change(routed.model(input_ids=tokens), tokens, own)
            for tokens, own in zip(moved, kept, strict=True)
        ]
    mean = sum(changes) / len(changes)
    variance = sum((change - mean) ** 2 for change in changes) / max(1, len(changes) - 1)
    return mean, math.sqrt(variance / len(changes))


@contextmanager
def _unrouted(model: nn.Module) -> Iterator[Retrofitted]:
    """The model with gates that may be forced and no routers, in evaluation mode; afterwards as it was."""
    try:
        routed = retrofit(model, Arm(router=NoRouter()))
    except ValueError as error:
        raise InputError(str(error)) from error
    training = model.training
    model.eval()
    try:
        yield routed
    finally:
        model.train(training)
        routed.remove()


def _agreement(values: Sequence[float], changes: Sequence[float]) -> Agreement:
    if len(values) < 3 or len(set(values)) == 1 or len(set(changes)) == 1:
        return Agreement(None, None, len(values))
    correlation = float(stats.spearmanr(values, changes).statistic)
    return Agreement(correlation, _interval(correlation, len(values)), len(values))


def _interval(correlation: float, number: int) -> tuple[float, float] | None:
    """About 95 %, by Fisher's z with the standard error of Bonett and Wright (2000), sqrt((1 + r²/2) / (n - 3))."""
    if number < 5 or abs(correlation) >= 1:
        return None
    reach = float(stats.norm.ppf(0.975)) * math.sqrt((1 + correlation**2 / 2) / (number - 3))
    middle = math.atanh(correlation)
    return math.tanh(middle - reach), math.tanh(middle + reach)


def _dtype(site: Site) -> torch.dtype:
    return next((p.dtype for p in site.projection.parameters() if p.is_floating_point()), torch.float32)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
