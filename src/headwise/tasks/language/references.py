"""What trivial and best possible predictors reach on given examples, in nats per token and in bits per character.

- `floor`: a unigram model: how often each token is a target in the training part, whatever came before.
- `ceiling`: where every record that can occur is known, and each is as likely as the next, the best predictor knows the
  records that agree with all it has read. By the chain rule its losses over a record add up to

      ln(records with the same first token / records that are the same)

  so no tree has to be built. Open text has no known ceiling.

Legend: B batch, L length, V tokens.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from headwise.tasks.base import Batch, Source
from headwise.tasks.language.metrics import real
from headwise.tasks.language.sources import Records, Sequences

_BATCH = 256


class Unigram:
    """The unigram model of a source's targets. One more observation, spread evenly over all V tokens, keeps a token
    that never occurred from an infinite loss."""

    def __init__(self, source: Sequences, size: int) -> None:
        counts = source.counts(size) + 1 / size
        self.loss = -(counts / counts.sum()).log()  # [V], nats

    def __call__(self, batch: Batch) -> Tensor:
        """Summed loss of each example, float64 [B]."""
        return (self.loss[batch["targets"]] * real(batch)).sum(1)


class Closed:
    """The best predictor of a language whose records are all known; NaN for one that is not among them."""

    def __init__(self, language: Iterable[Records]) -> None:
        records = [sequence for part in language for sequence in part.sequences()]
        self.beginning = Counter(sequence[0] for sequence in records)
        self.whole = Counter(records)

    def __call__(self, batch: Batch) -> Tensor:
        """Summed loss of each example, float64 [B]."""
        counts = real(batch).sum(1).tolist()
        rows = zip(batch["tokens"].tolist(), batch["targets"].tolist(), counts, strict=True)
        losses = [self._loss((inputs[0], *targets[:count])) for inputs, targets, count in rows]
        return torch.tensor(losses, dtype=torch.float64)

    def _loss(self, sequence: tuple[int, ...]) -> float:
        same = self.whole[sequence]
        return math.log(self.beginning[sequence[0]] / same) if same else math.nan


def by_metric(source: Source, floor: Unigram, ceiling: Closed | None) -> dict[str, dict[str, Tensor]]:
    """Every reference in the metrics that follow from the loss: {metric: {reference: float [len(source)]}}."""
    predictors = {"floor": floor} | ({} if ceiling is None else {"ceiling": ceiling})
    found: dict[str, dict[str, list[Tensor]]] = {
        metric: {name: [] for name in predictors} for metric in ("loss", "bits_per_character")
    }
    plan = source.plan(_BATCH, seed=0, epoch=0, shuffle=False)
    for index in plan:
        batch = source.batch(index)
        for name, predictor in predictors.items():
            total = predictor(batch)
            found["loss"][name].append(total / real(batch).sum(1))
            found["bits_per_character"][name].append(total / math.log(2) / batch["mean_characters"])
    order = torch.cat(plan).argsort()
    return {
        metric: {name: torch.cat(parts)[order].float() for name, parts in references.items()}
        for metric, references in found.items()
    }
