"""The exact posterior with hints: all arrangements of the masked values, counted by dynamic programming over subsets.

Place the masked elements in ascending order of value. Let Z[S] count the ways to give ascending values to the set S of
masked elements; it grows gap by gap. Gap g lies above g visible elements and holds w_g unused integers, and

    Z <- sum_j C(w_g, j) N^j Z,    (N Z)[S + y] = sum over y of may[y, g] after[y, S] Z[S],

where may[y, g] says whether the hints with visible elements let y lie in gap g, and after[y, S] whether S holds all
that hints put below y. Sets are bit masks. The derivatives of log Z[all] are the marginals: with respect to may[y, g],
that y lies in gap g; with respect to after[y, S], that S is exactly what lies below y among the masked elements.
Legend: B arrays, k masked, m visible, G = m + 1 gaps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from headwise.tasks.sorting.evidence import Evidence


def count(evidence: Evidence) -> tuple[Tensor, Tensor]:
    """P(masked x < masked y), float64 [B, k, k], and P(masked y < visible v), float64 [B, k, m].

    Time per array grows as k^2 2^k m: 0.2 ms at k=6 of 12, 20 ms at k=10 of 20.
    """
    B, k, m = evidence.under.shape
    gap, visible = torch.arange(m + 1), torch.arange(m)[:, None]
    wrong = evidence.above[..., None] & (gap <= visible) | evidence.under[..., None] & (gap > visible)  # [B, k, m, G]
    may = (~wrong.any(2)).permute(1, 2, 0).double().requires_grad_()  # [k, G, B]

    member = (torch.arange(2**k)[:, None] >> torch.arange(k)) % 2 == 1  # [2^k, k]
    missing = evidence.less[:, None] & ~member[None, :, :, None]  # [B, 2^k, x, y]: x must lie below y but is not in S
    after = (~missing.any(2)).permute(2, 1, 0).double().requires_grad_()  # [k, 2^k, B]

    edges = torch.cat([torch.zeros(B, 1), evidence.unused, torch.full((B, 1), evidence.integers)], dim=1)
    total = _ways(may, after, edges.diff(dim=1).T.double())
    by_gap, by_set = torch.autograd.grad(total.log().sum(), [may, after])
    below = torch.einsum("sx,ysb->bxy", member.double(), by_set * after.detach())
    return below, (by_gap * may.detach()).cumsum(1)[:, :-1].permute(2, 0, 1)


def _ways(may: Tensor, after: Tensor, widths: Tensor) -> Tensor:
    """Z[all], [B], from may [k, G, B], after [k, 2^k, B] and the widths of the gaps [G, B]."""
    k, _, B = after.shape

    def sets(table: Tensor, y: int, inside: int) -> Tensor:
        """The rows of [2^k, B] whose set holds y (inside=1) or does not (0), in the same order."""
        return table.view(2 ** (k - 1 - y), 2, 2**y, B)[:, inside]

    Z = torch.zeros(2**k, B, dtype=torch.float64)
    Z[0] = 1.0
    for g, width in enumerate(widths):
        allowed = [may[y, g] * sets(after[y], y, 0) for y in range(k)]
        term = Z
        for j in range(k):  # term: C(w, j) N^j Z
            grown = torch.zeros_like(Z)
            for y in range(k):
                sets(grown, y, 1).add_(sets(term, y, 0) * allowed[y])
            term = grown * ((width - j) / (j + 1))
            Z = Z + term
    return Z[-1]
