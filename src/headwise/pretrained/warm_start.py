"""A router per layer in closed form: which heads matter at a token, predicted from the layer's input.

    W = argmin  sum_i ||y_i - W [x_i ; 1]||^2 + penalty ||W||^2        y_ih = log n_ih

with n_ih the norm of what head h adds at token i (`headwise.pretrained.contributions`). One pass over some thousand
tokens, no gradient. Moments are summed in float64 token by token, so that texts of any length fit; the penalty is chosen
by the error on tokens held out, layer by layer.

Legend: B batch, L length, D width, H heads, T tokens.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headwise.pretrained.contributions import observed
from headwise.pretrained.retrofit import Retrofitted
from headwise.routing.routers import Learned
from headwise.routing.unit_gates import Unit

PENALTIES = tuple(10.0**exponent for exponent in range(-6, 3))
"""As shares of the mean variance of the inputs."""
SMALLEST = 1e-6
"""What is added to a norm before its logarithm, as a share of nothing: heads that say exactly nothing stay finite."""


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
        ridge = torch.full((width + 1,), penalty * scale, dtype=torch.float64)
        ridge[-1] = 0
        return torch.linalg.solve(self.xx + ridge.diag(), self.xy)

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
    held_out: int = 4,
) -> list[Fit]:
    """Fit every router and set how many heads stay on.

    Args:
        retrofitted: with learned routers per token and the gate `unit`.
        batches: of the model: blocks of tokens [B, L], or its named inputs.
        keep: heads of each layer that are on at each token.
        share: in place of it, the share of all heads of the model that is on, on these texts: one threshold for all
            layers, so that a token has more heads where they say more. What a layer's heads say is measured against the
            length of what they are added to.
        held_out: every so many-th batch chooses the penalty and is not fitted to.

    Returns:
        How well each layer predicts.

    Raises:
        ValueError: the arm has no such routers or gate; not one of keep and share; fewer than `held_out` batches.
    """
    _check(retrofitted, keep, share)
    sites, device = retrofitted.sites, next(retrofitted.model.parameters()).device
    fitted, kept_out = ([Moments(site.width, site.heads) for site in sites] for _ in range(2))
    model, number = retrofitted.model, 0
    for number, batch in enumerate(batches, 1):
        into = kept_out if number % held_out == 0 else fitted
        given = {"input_ids": batch} if isinstance(batch, Tensor) else dict(batch)
        mask = given.get("attention_mask")

        def see(layer: int, x: Tensor, norms: Tensor, into: list[Moments] = into, mask: Any = mask) -> None:
            real = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask.bool().to(x.device)
            into[layer].add(x[real], (norms[real] + SMALLEST).log())

        plain = [torch.ones(site.heads) for site in sites]
        with torch.no_grad(), retrofitted.forced(plain), observed(sites, see):
            model(**{key: value.to(device) for key, value in given.items()})
    if number < held_out:
        raise ValueError(f"{number} batches of text: choose at least {held_out}, as every {held_out}th is held out")
    return [
        _fill(router, fit, test) for router, fit, test in zip(retrofitted.routers, fitted, kept_out, strict=True)
    ]


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
    for router in retrofitted.routers:
        if not isinstance(router, Learned) or router.granularity != "token" or not isinstance(router.gate, Unit):
            raise ValueError("warm_start: needs learned routers per token and arm.gate=unit")
    if len(retrofitted.routers) < len(retrofitted.sites):
        raise ValueError("warm_start: the arm has no routers; choose arm.router=learned with arm.gate=unit")
