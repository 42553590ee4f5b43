"""How much each head of a pretrained model matters, and each key/value group: by what it adds to the layer's output, by
the derivatives of its gate, and, on request, by leaving it out.

Measures are cheap (one pass forward and back for each example) and only guesses; what a head is worth alone is what its
ablation says. The rank correlation of each measure with ablation says how good a guess it is on this model and text.

Legend: T tokens, H heads, G key/value groups, U units (heads, or groups), E width of a head's output, D width of the
model, L length, P derived scalars.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from scipy import stats
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.pretrained.objectives import Objective
from headwise.pretrained.retrofit import Retrofitted, retrofit
from headwise.pretrained.sites import Site
from headwise.routing.routers import NoRouter

CONTRIBUTION = "contribution"
"""Mean over tokens of ||W_o,u out_u||, the length of what a unit adds to the layer's output."""
Progress = Callable[[str], None]


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
        value: mean loss of the untouched model, where the objective has one.
    """

    sites: Sequence[str]
    heads: Units
    groups: Units | None


def importance(
    model: nn.Module,
    examples: Sequence[Tensor],
    objective: Objective,
    ablate: int | Literal["all"] | None = None,
    seed: int = 0,
    progress: Progress = lambda line: None,
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

    Raises:
        InputError: no examples; `ablate` below 1 or above the number of heads; an attention layer that is not
            understood.
    """
    if not examples:
        raise InputError("no examples to measure importance on")
    with _unrouted(model) as routed:
        heads = [site.heads for site in routed.sites]
        groups = [site.groups for site in routed.sites]
        if ablate not in (None, "all") and not 1 <= int(ablate) <= sum(heads):
            raise InputError(f"ablate={ablate}: the model has {sum(heads)} heads; choose 1..{sum(heads)}, or all")
        by_heads, by_groups = _Means(heads), _Means(groups)
        both = (by_heads, by_groups) if groups != heads else (by_heads,)
        kept: list[Tensor] = []
        for number, tokens in enumerate(examples):
            kept.append(_measure(routed, tokens.to(_device(model)), number, objective, both))
            progress(f"measures: {number + 1} of {len(examples)} examples")
        found = [
            Units(means.counts, means.result(objective), _ablations(routed, means, examples, objective, kept, ablate, seed, progress))
            for means in both
        ]
        return Importance([site.name for site in routed.sites], found[0], found[1] if len(found) > 1 else None)


class _Means:
    """Running means over examples of the measures of all units."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = list(counts)
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
        means = [{name: sums[site] / self.number for name, sums in self.sums.items()} for site in range(len(self.counts))]
        whole = [own | objective.derived(own) for own in means]
        return {name: [own[name] for own in whole] for name in whole[0]}


def _measure(
    routed: Retrofitted, tokens: Tensor, number: int, objective: Objective, both: Sequence[_Means]
) -> Tensor:
    """One pass forward and back on one example: the measures of each kind of unit; returns what is kept of it."""
    gates = [
        torch.ones(1, tokens.shape[1], site.heads, dtype=_dtype(site), device=tokens.device, requires_grad=True)
        for site in routed.sites
    ]
    lengths: list[list[Tensor]] = [[] for _ in routed.sites]

    def record(place: int, outputs: Tensor) -> None:
        lengths[place] = [_contributions(routed.sites[place], outputs, means.counts[place]) for means in both]

    with torch.enable_grad(), routed.forced(gates), _read(routed.sites, record):
        output = routed.model(input_ids=tokens)
        kept = objective.keep(output, tokens).detach()
        scalars = objective.scalars(output, tokens, number)
        taken = [
            torch.autograd.grad(scalar, gates, retain_graph=place + 1 < len(scalars))
            for place, scalar in enumerate(scalars)
        ]
    gradients = [torch.cat(one) for one in zip(*taken, strict=True)]  # [P, L, H] of each site
    for place, means in enumerate(both):
        means.add(
            [
                {CONTRIBUTION: lengths[site][place]}
                | objective.measures(gradient.unflatten(-1, (means.counts[site], -1)).sum(-1))
                for site, gradient in enumerate(gradients)
            ]
        )
    return kept


def _contributions(site: Site, outputs: Tensor, units: int) -> Tensor:
    """Mean over tokens of ||W_o,u out_u|| [U]; a group's heads lie side by side and count as one sum."""
    weight = site.projection.weight
    assert isinstance(weight, Tensor)
    weight = weight if type(site.projection).__name__ == "Conv1D" else weight.T  # [H·E, D]
    own = outputs.detach().flatten(0, -2).unflatten(-1, (units, -1))  # [T, U, H/U·E]
    added = torch.einsum("tue,ued->tud", own, weight.detach().unflatten(0, (units, -1)))
    return added.float().norm(dim=-1).mean(0)


@torch.no_grad()
def _ablations(
    routed: Retrofitted,
    means: _Means,
    examples: Sequence[Tensor],
    objective: Objective,
    kept: Sequence[Tensor],
    ablate: int | Literal["all"] | None,
    seed: int,
    progress: Progress,
) -> dict[tuple[int, int], tuple[float, float]]:
    """The cost of leaving out units that are drawn, in their order: its mean over examples and standard error."""
    units = [(site, unit) for site, count in enumerate(means.counts) for unit in range(count)]
    if ablate is None:
        return {}
    if ablate != "all":
        units = sorted(random.Random(seed).sample(units, min(int(ablate), len(units))))
    found = {}
    kind = "heads" if means.counts == [site.heads for site in routed.sites] else "groups"
    for number, (site, unit) in enumerate(units, 1):
        on = torch.ones(means.counts[site], dtype=_dtype(routed.sites[site]))
        on[unit] = 0
        gates: list[Tensor | None] = [None] * len(routed.sites)
        gates[site] = on.repeat_interleave(routed.sites[site].heads // means.counts[site])
        with routed.forced(gates):
            changes = [
                objective.change(routed.model(input_ids=tokens.to(own.device)), tokens.to(own.device), own)
                for tokens, own in zip(examples, kept, strict=True)
            ]
        mean = sum(changes) / len(changes)
        spread = math.sqrt(sum((x - mean) ** 2 for x in changes) / max(1, len(changes) - 1))
        found[site, unit] = (mean, spread / math.sqrt(len(changes)))
        progress(f"ablation: {number} of {len(units)} {kind}")
    return found


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


@contextmanager
def _read(sites: Sequence[Site], record: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Within the block, the number of a site and the head outputs [..., H·E] go to `record` before each projection."""
    handles = [
        site.projection.register_forward_pre_hook(lambda _, args, number=number: record(number, args[0]))
        for number, site in enumerate(sites)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


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
    found = next((p.dtype for p in site.projection.parameters() if p.is_floating_point()), torch.float32)
    return found


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
