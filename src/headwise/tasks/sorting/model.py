"""Sorting: the two ends of the model. Elements (and hints) become tokens; hidden states become slot scores.

No parameter depends on n, so the same weights sort arrays of another length.
Legend: B batch, n elements, h hints, L = n + h tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headwise.tasks.base import Batch, Shift, Task
from headwise.tasks.scenes import Example, Scene
from headwise.tasks.sorting import metrics
from headwise.tasks.sorting.arrays import SortingConfig
from headwise.tasks.sorting.hints import CODES, smaller_larger


class Elements(nn.Module):
    """(value / 100 or 0, visible flag) -> token, plus the identity code when hints refer to it. No position."""

    role = "backbone"

    def __init__(self, width: int, codes: bool) -> None:
        super().__init__()
        self.project = nn.Linear(2, width)
        self.identity = nn.Linear(CODES, width, bias=False) if codes else None

    def forward(self, batch: Batch, codes: Tensor | None) -> Tensor:
        """[B, n] values and flags, and codes [B, n, CODES] or None, to tokens [B, n, D]."""
        flag = batch["visible"].to(self.project.weight.dtype)
        tokens: Tensor = self.project(torch.stack([batch["values"] / 100 * flag, flag], dim=-1))
        return tokens if self.identity is None else tokens + self.identity(codes)


class Hints(nn.Module):
    """(code of the smaller, code of the larger) -> token: a hint and its mirror image are the same statement."""

    role = "backbone"

    def __init__(self, width: int) -> None:
        super().__init__()
        self.smaller = nn.Linear(CODES, width, bias=False)
        self.larger = nn.Linear(CODES, width)

    def forward(self, batch: Batch, codes: Tensor) -> Tensor:
        """Hints [B, h, 2] with outcomes [B, h], and codes [B, n, CODES], to tokens [B, h, D]."""
        row = torch.arange(codes.shape[0], device=codes.device)[:, None]
        low, high = smaller_larger(batch)
        tokens: Tensor = self.smaller(codes[row, low]) + self.larger(codes[row, high])
        return tokens


class SlotScores(nn.Module):
    """Score of element i at rank r: norm(hidden_i) . slot(r), where slot is a small MLP of the relative rank.

    slot(r) = W2 gelu(W1 phi((r + 1/2) / n) + b), phi sines and cosines. Frequencies are spaced geometrically: at n half
    turns, say, the cosine would vanish on every slot and its weights never move. Neither the norm nor W2 has a bias:
    the softmax over elements, or over slots, would cancel it. The norm is there although backbones end in one, because
    a softmax over elements would cancel the bias of that one too.
    """

    role = "readout"

    frequency: Tensor

    def __init__(self, width: int, frequencies: int = 16, hidden: int = 64) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.slot = nn.Sequential(nn.Linear(2 * frequencies, hidden), nn.GELU(), nn.Linear(hidden, width, bias=False))
        octaves = torch.linspace(0, 4.9, frequencies)  # to 30 half turns (slots of 60 stay apart), irrational but for 1
        self.register_buffer("frequency", math.pi * 2**octaves, persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states of the elements [B, n, D] -> scores [B, n, n], element by rank."""
        n, D = hidden.shape[1:]
        place = (torch.arange(n, device=hidden.device, dtype=self.frequency.dtype) + 0.5) / n
        angle = place[:, None] * self.frequency  # [n, frequencies]
        slots = self.slot(torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.norm.weight.dtype))  # [n, D]
        scores: Tensor = self.norm(hidden) @ slots.T / math.sqrt(D)
        return scores


class ExpectedRank:
    """Each element predicts a distribution over slots; elements are sorted by their expected rank."""

    @staticmethod
    def loss(scores: Tensor, ranks: Tensor) -> Tensor:
        """Cross-entropy of each element's true slot, [B, n]."""
        return F.cross_entropy(scores.transpose(1, 2), ranks, reduction="none")

    @staticmethod
    def decode(scores: Tensor) -> Tensor:
        """Ranks int64 [B, n]."""
        slots = torch.arange(scores.shape[2], device=scores.device, dtype=scores.dtype)
        return metrics.rank_by(scores.softmax(dim=2) @ slots)


class Pointer:
    """Each slot, the smallest first, points at one of the elements that no earlier slot has taken (coverage mask)."""

    @staticmethod
    def loss(scores: Tensor, ranks: Tensor) -> Tensor:
        """Cross-entropy of each slot's true element, given that the earlier slots were right, [B, n]."""
        slots = torch.arange(scores.shape[2], device=scores.device)
        taken = ranks[:, :, None] < slots  # [B, element, slot]
        return F.cross_entropy(scores.masked_fill(taken, -torch.inf), metrics.inverse(ranks), reduction="none")

    @staticmethod
    def decode(scores: Tensor) -> Tensor:
        """Ranks int64 [B, n], greedily."""
        free, order = scores.clone(), []
        for slot in range(scores.shape[2]):
            pick = free[:, :, slot].argmax(dim=1, keepdim=True)  # [B, 1]
            order.append(pick)
            free.scatter_(1, pick[:, :, None].expand(-1, -1, scores.shape[2]), -torch.inf)
        return metrics.inverse(torch.cat(order, dim=1))


READ_OUTS: dict[str, type[ExpectedRank] | type[Pointer]] = {"expected_rank": ExpectedRank, "pointer": Pointer}
"""Both read the same scores [B, element, slot]: one as a distribution over slots, the other over elements."""


class SortingTask(Task):
    """Put all elements in order, the masked ones too. A prediction is the scores [B, n, n], element by slot."""

    name: ClassVar[str] = "sorting"
    metric: ClassVar[str] = "rank_tau"
    exact: ClassVar[str | None] = "perfect"
    training_size: ClassVar[str | None] = "train_examples"
    metric_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    config: SortingConfig
    codes: Tensor

    def __init__(self, config: SortingConfig, facts: dict[str, Any], width: int) -> None:
        super().__init__(config, facts, width)
        self.elements = Elements(width, config.has_hints)
        self.scores = SlotScores(width)
        self.decoder = READ_OUTS[config.read_out]
        if config.has_hints:
            self.hints = Hints(width)
            noise = torch.randn(CODES, CODES, generator=torch.Generator().manual_seed(0))
            # Orthogonal: one learned matrix can match all codes. Entries of unit variance, like any normed input.
            self.register_buffer("codes", torch.linalg.qr(noise)[0] * math.sqrt(CODES))

    @classmethod
    def shifts(cls, config: SortingConfig) -> dict[str, Shift]:
        """Longer arrays, and other shares of them masked."""
        longer = tuple(round(config.length * times) for times in (4 / 3, 5 / 3, 2))
        return {
            "length": Shift.of("integers to sort", config, "length", longer),
            "mask_rate": Shift.of("share of them that is masked", config, "mask_rate", (0.2, 0.5, 0.8)),
        }

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Element tokens first, then hint tokens: [B, n + h, D]."""
        if not self.config.has_hints:
            return self.elements(batch, None), None
        codes = self.codes[batch["codes"]]  # [B, n, CODES]
        tokens = torch.cat([self.elements(batch, codes), self.hints(batch, codes)], dim=1)
        return tokens, batch.get("mask")

    def read_out(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Scores [B, n, n] from the hidden states of the elements; those of the hints are not read."""
        scores: Tensor = self.scores(hidden[:, : batch["values"].shape[1]])
        return scores

    def loss(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy in nats summed over the n elements (or slots) of an array, [B]."""
        # At least single precision; double stays double, for finite differences.
        scores = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        return self.decoder.loss(scores, batch["ranks"]).sum(1)

    def terms(self, batch: Batch) -> Tensor:
        """n, [B]."""
        ranks = batch["ranks"]
        return torch.full_like(ranks[:, 0], ranks.shape[1])

    def metrics(self, prediction: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Rank tau and its parts, slot accuracy and the rest of `metrics.measure`, per array [B]."""
        return metrics.measure(self.answer(prediction, batch), batch)

    def answer(self, prediction: Tensor, batch: Batch) -> Tensor:
        """The rank of each element, [B, n]."""
        return self.decoder.decode(prediction.float())

    def valid(self, prediction: Tensor, batch: Batch) -> Tensor:
        """Whether the ranks contradict neither the visible values nor a hint, bool [B]."""
        return metrics.agrees(self.answer(prediction, batch), batch)

    def scene(self, example: Example, predictions: Sequence[Any]) -> Scene:
        """See `sorting.scene`."""
        from headwise.tasks.sorting.scene import scene

        return scene(self, example, predictions)
