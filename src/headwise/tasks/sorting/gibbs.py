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
        for half, t in enumerate(sampler.t.permute(1, 2, 0).chunk(2, dim=1)):  # [B, C/2, k]
            below[half] += (t[..., :, None] < t[..., None, :]).double().mean(1)
            under[half] += (t[..., :, None] < evidence.unused[:, None, None, :]).double().mean(1)
    return below / SWEEPS, under / SWEEPS


class _Sampler:
    """The state t [k, B, C] of the chains, each entry an index 0..U-1 into the unused integers, and its moves."""

    def __init__(self, evidence: Evidence, start: Tensor, generator: torch.Generator) -> None:
        U, unused = evidence.integers, evidence.unused[:, None, :]
        self.t = start.T[:, :, None].repeat(1, 1, CHAINS).int()
        self.least = torch.where(evidence.above, unused, 0).amax(2).T[:, :, None].int()  # [k, B, 1]
        self.greatest = torch.where(evidence.under, unused, U).amin(2).T[:, :, None].int() - 1
        self.less = evidence.less.permute(1, 2, 0)[..., None]  # [x, y, B, 1]
        self.generator = generator

    def interval(self, t: Tensor, y: int) -> tuple[Tensor, Tensor]:
        """The least and the greatest index that the hints leave to y, given the other values; [B, C] each."""
        least = torch.where(self.less[:, y], t + 1, self.least[y]).amax(0)
        greatest = torch.where(self.less[y], t - 1, self.greatest[y]).amin(0)
        return least, greatest  # the hints with visible elements count too: y's own row always gives their bound

    def fits(self, t: Tensor, y: int) -> Tensor:
        """Whether the value of y keeps to the hints, bool [B, C]."""
        least, greatest = self.interval(t, y)
        return (least <= t[y]) & (t[y] <= greatest)

    def sweep(self) -> None:
        """One move of each value and one swap of each pair of a random pairing."""
        k = len(self.t)
        for y in range(k):
            least, greatest = self.interval(self.t, y)
            u = torch.rand(least.shape, generator=self.generator)
            proposal = least + (u * (greatest - least + 1)).int()
            taken = (self.t == proposal).any(0)
            self.t[y] = torch.where(taken, self.t[y], proposal)
        pairing = torch.randperm(k, generator=self.generator)[: k // 2 * 2].view(-1, 2)
        for pair in pairing:
            swapped = self.t.index_copy(0, pair, self.t[pair.flip(0)])
            fit = self.fits(swapped, int(pair[0])) & self.fits(swapped, int(pair[1]))
            self.t = torch.where(fit, swapped, self.t)
