"""Metrics per example, from the scores of the next token.

Legend: B batch, L length, V tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from headwise.tasks.base import Batch


def real(batch: Batch) -> Tensor:
    """Which targets count, bool [B, L]: all but padding."""
    return batch.get("mask", torch.ones_like(batch["targets"], dtype=torch.bool))


def nats(scores: Tensor, batch: Batch) -> Tensor:
    """-ln p of each real target, 0 for padding: [B, L, V] to [B, L]."""
    targets = batch["targets"]
    # Half precision is not enough for a softmax over V; double stays double, for finite differences.
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    terms = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
    return terms.view_as(targets) * real(batch)


def measure(scores: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Every metric of the scores [B, L, V], per example, float [B].

    - loss (primary): nats per token.
    - bits_per_character: the example's bits over the characters of an average example of its source, so that the mean
      over a source is all its bits over all its characters, the usual figure. (A mean of ratios would count characters
      in short examples for more.)
    - accuracy: share of the targets that get the highest score.
    - recall: 1 where greedy decoding of the prompt gives exactly the response and its end, else 0; NaN without a
      prompt. Greedy decoding repeats the response as long as every highest score is the right one, and the scores that
      it sees are these, so nothing needs to be decoded.
    """
    mask = real(batch)
    terms, count = nats(scores, batch), mask.sum(1)
    hit = scores.argmax(-1) == batch["targets"]
    answer = batch["answer"]
    return {
        "loss": terms.sum(1) / count,
        "bits_per_character": terms.sum(1) / math.log(2) / batch["mean_characters"],
        "accuracy": (hit & mask).sum(1) / count,
        "recall": torch.where(answer.any(1), (hit | ~answer).all(1).float(), torch.nan),
    }
