"""The posterior with hints where counting costs too much: Gibbs sampling of the masked values.

Moves keep the uniform distribution over the assignments that fit the hints: a masked value is drawn afresh from the
interval that its hints leave (and stays where it is if the integer is taken), and two masked values are swapped if
both fit. Chains start at the true values, which are themselves a draw from the posterior.
Legend: B arrays, k masked, m visible, U unused integers, C chains.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.tasks.sorting.evidence import Evidence

CHAINS, SWEEPS, WARM_UP = 32, 200, 50
"""Per array. 6400 draws: a probability near 1/2 is off by about 0.01, its certainty by less on average."""


def sample(evidence: Evidence, start: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """As `counting.count`, estimated twice: from one half of the chains and, independently, from the other.

    Args:
        evidence: of the arrays.
        start: values of the masked elements as indices into the unused integers, int64 [B, k], fitting the hints.
        seed: of the chains.

    Returns:
        P(masked x < masked y), [2, B, k, k], and P(masked y < visible v), [2, B, k, m], float64.
    """
    B, k, m = evidence.under.shape
    generator = torch.Generator().manual_seed(seed)
    sampler = _Sampler(evidence, start, generator)
    below, under = torch.zeros(2, B, k, k, dtype=torch.float64), torch.zeros(2, B, k, m, dtype=torch.float64)
    for sweep in range(WARM_UP + SWEEPS):
        sampler.sweep()
        if sweep < WARM_UP:
            continue
        for half, t in enumerate(sampler.t.chunk(2, dim=1)):  # [B, C/2, k]
            below[half] += (t[..., :, None] < t[..., None, :]).double().mean(1)
            under[half] += (t[..., :, None] < evidence.unused[:, None, None, :]).double().mean(1)
    return below / SWEEPS, under / SWEEPS


class _Sampler:
    """The state t [B, C, k] of the chains, each an index 0..U-1 into the unused integers, and its moves."""

    def __init__(self, evidence: Evidence, start: Tensor, generator: torch.Generator) -> None:
        U, generous = evidence.integers, torch.iinfo(torch.int64).max
        unused = evidence.unused[:, None, :]
        self.lowest = torch.where(evidence.above, unused, 0).amax(2)  # [B, k]
        self.highest = torch.where(evidence.under, unused, generous).amin(2).clamp(max=U) - 1
        self.less = evidence.less
        self.t = start.int()[:, None, :].repeat(1, CHAINS, 1)
        self.generator = generator

    def interval(self, t: Tensor, y: int) -> tuple[Tensor, Tensor]:
        """The least and the greatest index that the hints leave to y, given the others; [B, C] each."""
        from_below = torch.where(self.less[:, None, :, y], t + 1, 0).amax(2)
        from_above = torch.where(self.less[:, None, y, :], t - 1, t.new_tensor(2**31)).amin(2)
        return from_below.maximum(self.lowest[:, None, y]), from_above.minimum(self.highest[:, None, y])

    def fits(self, t: Tensor, y: int) -> Tensor:
        least, greatest = self.interval(t, y)
        return (least <= t[..., y]) & (t[..., y] <= greatest)

    def sweep(self) -> None:
        """One move of each value and one swap of each pair of a random pairing."""
        k = self.t.shape[2]
        for y in range(k):
            least, greatest = self.interval(self.t, y)
            u = torch.rand(least.shape, generator=self.generator, dtype=torch.float64)
            proposal = least + (u * (greatest - least + 1)).long()
            taken = (self.t == proposal[..., None]).any(2)
            self.t[..., y] = torch.where(taken, self.t[..., y], proposal)
        pairing = torch.randperm(k, generator=self.generator)[: k // 2 * 2].view(-1, 2)
        for x, y in pairing.tolist():
            swapped = self.t.clone()
            swapped[..., x], swapped[..., y] = self.t[..., y], self.t[..., x]
            fit = self.fits(swapped, x) & self.fits(swapped, y)
            self.t = torch.where(fit[..., None], swapped, self.t)
