"""A router per layer in closed form: which heads matter at a token, predicted from the layer's input.

    W = argmin  sum_i ||y_i - W [x_i ; 1]||^2 + penalty ||W||^2        y_ih = log n_ih

with n_ih the norm of what head h adds at token i (`headwise.pretrained.contributions`). One pass over some thousand
tokens, no gradient. Moments are summed in float64 token by token, so that texts of any length fit; the penalty is
chosen by the error on tokens held out, layer by layer.

Legend: B batch, L length, D width, H heads, T tokens.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from headwise.pretrained.contributions import observed
from headwise.pretrained.retrofit import Retrofitted
from headwise.pretrained.sites import layer_input
from headwise.routing.routers import Learned
from headwise.routing.unit_gates import Unit

PENALTIES = tuple(10.0**exponent for exponent in range(-6, 3))
"""As shares of the mean variance of the inputs."""
SMALLEST = 1e-6
"""Added to a norm before its logarithm, so that heads which say nothing stay finite."""
HELD_OUT = 4
"""Every so many-th batch chooses the penalty and the threshold, and is not fitted to."""


@dataclass(frozen=True)
class Fit:
    """How well one layer's router predicts.

    Attributes:
        penalty: chosen, as a share of the mean variance of the inputs.
        r2: share of the variance of the held-out targets that is explained, around the mean of each head.
    """

    penalty: float
    r2: float


class Moments:
    """Sums over tokens of [x ; 1][x ; 1]^T, [x ; 1] y^T and y^2, in float64."""

    def __init__(self, width: int, heads: int) -> None:
        self.tokens = 0
        self.xx = torch.zeros(width + 1, width + 1, dtype=torch.float64)
        self.xy = torch.zeros(width + 1, heads, dtype=torch.float64)
        self.yy = torch.zeros(heads, dtype=torch.float64)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Tokens [T, D] and their targets [T, H]."""
        x = torch.cat([x.double(), torch.ones(len(x), 1, dtype=torch.float64, device=x.device)], 1)
        self.tokens += len(x)
        self.xx += (x.T @ x).cpu()
        self.xy += (x.T @ y.double()).cpu()
        self.yy += y.double().square().sum(0).cpu()

    def solve(self, penalty: float) -> Tensor:
        """W^T [D + 1, H]; the constant is not penalised."""
        width = len(self.xx) - 1
        scale = self.xx.diagonal()[:width].mean()
        ridge = torch.ones(width + 1, dtype=torch.float64) * penalty * scale
        ridge[-1] = 0
        solution: Tensor = torch.linalg.solve(self.xx + ridge.diag(), self.xy)
        return solution

    def errors(self, solution: Tensor) -> Tensor:
        """Squared error of each head, summed over tokens, [H]."""
        return self.yy - 2 * (solution * self.xy).sum(0) + (solution * (self.xx @ solution)).sum(0)

    def spread(self) -> Tensor:
        """Squared distance of each head's targets from their mean, summed over tokens, [H]."""
        return self.yy - self.xy[-1].square() / max(self.tokens, 1)


def warm_start(
    retrofitted: Retrofitted,
    batches: Iterable[Mapping[str, Tensor] | Tensor],
    keep: int | None = None,
    share: float | None = None,
) -> list[Fit]:
    """Fit every router and set how many heads stay on.

    Args:
        retrofitted: with learned routers per token and the gate `unit`.
        batches: of the model: blocks of tokens [B, L], or its named inputs. Every HELD_OUT-th is not fitted to.
        keep: heads of each layer that are on at each token.
        share: in place of it, the share of all heads of the model that is on, on these texts: one threshold for all
            layers, so that a token has more heads where they say more, as measured against the mean length of what the
            layer's output is added to.

    Returns:
        How well each layer predicts.

    Raises:
        ValueError: the arm has no such routers or gate; not one of keep and share, or not one of the numbers there can
            be; fewer than HELD_OUT batches.
    """
    _check(retrofitted, keep, share)
    fitted = fit(retrofitted, batches)
    place(retrofitted, predict(retrofitted, fitted.held_out), fitted.lengths, keep, share)
    return fitted.fits


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves beside the routers' weights.

    Attributes:
        fits: how well each layer predicts.
        held_out: the batches that were not fitted to.
        lengths: mean logarithm of the length of what each layer's output is added to.
    """

    fits: list[Fit]
    held_out: list[Mapping[str, Tensor]]
    lengths: list[float]


def fit(retrofitted: Retrofitted, batches: Iterable[Mapping[str, Tensor] | Tensor]) -> Fitted:
    """Fit every router; head logits are then log norms, and `place` says how many heads stay on.

    Raises:
        ValueError: fewer than HELD_OUT batches.
    """
    sites = retrofitted.sites
    fitted, tests = ([Moments(site.width, site.heads) for site in sites] for _ in range(2))
    lengths, held_out, number = [Moments(0, 1) for _ in sites], list[Mapping[str, Tensor]](), 0
    with streams(retrofitted) as around:
        for number, batch in enumerate(batches, 1):
            given = {"input_ids": batch} if isinstance(batch, Tensor) else batch
            into = fitted if number % HELD_OUT else tests
            if into is tests:
                held_out.append(given)
            for layer, (x, norms) in observe(retrofitted, given).items():
                into[layer].add(x, (norms + SMALLEST).log())
                lengths[layer].add(x[:, :0], around[layer])
    if number < HELD_OUT:
        raise ValueError(f"{number} batches of text: choose at least {HELD_OUT}, as every {HELD_OUT}th is held out")
    fits = [_fill(router, *both) for router, *both in zip(retrofitted.routers, fitted, tests, strict=True)]
    return Fitted(fits, held_out, [float(length.xy[-1] / length.tokens) for length in lengths])


def observe(retrofitted: Retrofitted, given: Mapping[str, Tensor]) -> dict[int, tuple[Tensor, Tensor]]:
    """Inputs [T, D] and norms [T, H] of the real tokens at each layer, with every head on."""
    device, found = next(retrofitted.model.parameters()).device, dict[int, tuple[Tensor, Tensor]]()

    def see(layer: int, x: Tensor, norms: Tensor) -> None:
        mask = retrofitted.heads[layer].mask(x)
        found[layer] = (x.flatten(0, 1), norms.flatten(0, 1)) if mask is None else (x[mask], norms[mask])

    with torch.no_grad(), retrofitted.all_on(), observed(retrofitted.sites, see):
        retrofitted.model(**{key: value.to(device) for key, value in given.items()})
    return found


@contextmanager
def streams(retrofitted: Retrofitted) -> Iterator[dict[int, Tensor]]:
    """Within the block, log lengths [T, 1] of what the real tokens' layer outputs were added to in the last pass: the
    input of the module around each layer."""
    found, handles = dict[int, Tensor](), list[Any]()

    def watch(number: int, around: nn.Module) -> None:
        def read(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = layer_input(args, kwargs)
            mask = retrofitted.heads[number].mask(x)
            found[number] = (x.flatten(0, 1) if mask is None else x[mask]).float().norm(dim=-1, keepdim=True).log()

        handles.append(around.register_forward_pre_hook(read, with_kwargs=True))

    for number, site in enumerate(retrofitted.sites):
        watch(number, retrofitted.model.get_submodule(site.name.rpartition(".")[0]))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def predict(retrofitted: Retrofitted, texts: Sequence[Mapping[str, Tensor]]) -> list[Tensor]:
    """Head logits [T, H] of the real tokens at each layer, with every head on."""
    predicted: list[list[Tensor]] = [[] for _ in retrofitted.sites]
    for given in texts:
        for layer, (x, _) in observe(retrofitted, given).items():
            router = retrofitted.routers[layer]
            assert isinstance(router, Learned)
            predicted[layer].append(router.logits(x[None], None, None)[0])
    return [torch.cat(layer) for layer in predicted]


@torch.no_grad()
def place(
    retrofitted: Retrofitted,
    predicted: Sequence[Tensor],
    lengths: Sequence[float],
    keep: int | None,
    share: float | None,
) -> None:
    """Move the routers' constants so that 0 parts heads that are on from those that are off, and set the gates.

    Args:
        retrofitted: with fitted routers.
        predicted: their head logits [T, H] at each layer, on held-out tokens.
        lengths: mean logarithm of the length of what each layer's output is added to.
        keep, share: as for `warm_start`.
    """
    if share is not None:
        scores = [layer - length for layer, length in zip(predicted, lengths, strict=True)]
        cut = quantile(torch.cat([layer.flatten() for layer in scores]), 1 - share)
        cuts = [cut + length for length in lengths]
    else:
        assert keep is not None
        cuts = [quantile(layer, 1 - keep / layer.shape[1]) for layer in predicted]
    for router, cut in zip(retrofitted.routers, cuts, strict=True):
        assert isinstance(router, Learned)
        assert router.of_input is not None
        router.of_input.bias.sub_(cut)
    retrofitted.set_k(keep)


def quantile(values: Tensor, share: float) -> float:
    """The value below which so many lie; of any number of values. Below none: well below all, those to come too."""
    ranked = values.flatten().sort().values
    if share <= 0:
        return float(2 * ranked[0] - ranked[-1] - 1)
    return float(ranked[min(int(share * len(ranked)), len(ranked) - 1)])


@torch.no_grad()
def _fill(router: Any, fitted: Moments, test: Moments) -> Fit:
    """Write one layer's router from the best of PENALTIES."""
    tried = [(fitted.solve(penalty), penalty) for penalty in PENALTIES]
    best, penalty = min(tried, key=lambda pair: float(test.errors(pair[0]).sum()))
    router.of_input.weight.copy_(best[:-1].T)
    router.of_input.bias.copy_(best[-1])
    return Fit(penalty, 1 - float(test.errors(best).sum() / test.spread().sum().clamp_min(1e-30)))


def _check(retrofitted: Retrofitted, keep: int | None, share: float | None) -> None:
    if (keep is None) == (share is None):
        raise ValueError("warm_start: give keep= (heads of each layer) or share= (of all heads), one of the two")
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"warm_start: share={share}: choose a share of all heads above 0, at most 1")
    if not retrofitted.routers:
        raise ValueError("warm_start: the arm has no routers; choose arm.router=learned with arm.gate=unit")
    for router in retrofitted.routers:
        if not isinstance(router, Learned) or router.granularity != "token" or not isinstance(router.gate, Unit):
            raise ValueError("warm_start: needs learned routers per token and arm.gate=unit")
        replace(router.gate, k=keep).validate(router.heads)
