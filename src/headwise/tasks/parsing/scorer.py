"""Deep biaffine scores of arcs and of their relations (Dozat & Manning 2017).

Legend: B batch, L words, D width, A and R widths of the perceptrons, K relations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ArcScorer(nn.Module):
    """s[i, j] = d_i W h_j + u · h_j: word i as a dependent of candidate j.

    d and h are perceptrons of the same states in their two roles. A term of i alone, or a constant, would cancel in the
    softmax over j and is left out.

    Differs from the paper: divided by sqrt(A), so that the first softmax is flat at any width; W starts random.
    """

    def __init__(self, width: int, arcs: int, dropout: float) -> None:
        super().__init__()
        self.dependent = perceptron(width, arcs, dropout)
        self.head = perceptron(width, arcs, dropout)
        self.weight = nn.Parameter(torch.empty(arcs, arcs))
        self.prior = nn.Parameter(torch.zeros(arcs))  # u
        nn.init.xavier_uniform_(self.weight)
        self.scale = arcs**-0.5

    def forward(self, words: Tensor, candidates: Tensor) -> Tensor:
        """Words [B, L, D] and candidates [B, L + 1, D] to scores [B, L, L + 1]."""
        dependent, head = self.dependent(words), self.head(candidates)  # [B, L, A], [B, L + 1, A]
        queries = dependent @ self.weight + self.prior
        return queries @ head.transpose(1, 2) * self.scale  # type: ignore[no-any-return]


class RelationScorer(nn.Module):
    """s[i, k] = (d_i, 1) W_k (h, 1): relation k between word i and a head."""

    def __init__(self, width: int, labels: int, relations: int, dropout: float) -> None:
        super().__init__()
        self.dependent = perceptron(width, labels, dropout)
        self.head = perceptron(width, labels, dropout)
        self.weight = nn.Parameter(torch.empty(labels + 1, relations, labels + 1))
        nn.init.normal_(self.weight, std=(labels + 1) ** -1)

    def forward(self, dependents: Tensor, heads: Tensor) -> Tensor:
        """Perceptrons' outputs for words and the head of each, [B, L, R] twice, to scores [B, L, K]."""
        left = _with_one(dependents) @ self.weight.flatten(1)  # [B, L, K (R + 1)]
        left = left.view(*left.shape[:2], *self.weight.shape[1:])  # [B, L, K, R + 1]
        scores: Tensor = (left @ _with_one(heads).unsqueeze(-1)).squeeze(-1)
        return scores


def perceptron(width: int, output: int, dropout: float) -> nn.Module:
    """One layer with the leaky rectifier of the paper."""
    return nn.Sequential(nn.Linear(width, output), nn.LeakyReLU(0.1), nn.Dropout(dropout))


def of_heads(candidates: Tensor, heads: Tensor) -> Tensor:
    """Candidates [B, L + 1, R] to those at `heads` [B, L]: [B, L, R]."""
    return candidates.gather(1, heads[..., None].expand(-1, -1, candidates.shape[-1]))


def _with_one(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[..., :1])], -1)
