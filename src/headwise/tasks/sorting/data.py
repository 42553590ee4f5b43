"""Training, validation and test sets of arrays, and what reference predictors reach on them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from headwise.tasks.base import SPLITS, Batch, Source, TaskData
from headwise.tasks.generated import FixedSource, FreshSource
from headwise.tasks.sorting import references
from headwise.tasks.sorting.arrays import EPOCH, SortingConfig, generate


class SortingData(TaskData):
    """Training, validation and test arrays from separate random streams, and their references."""

    config: SortingConfig

    def __init__(self, config: SortingConfig, seed: int, cache: Path | None = None) -> None:
        super().__init__(config, seed, cache)
        self._sources: dict[str, Source] = {}

    def split(self, name: str) -> Source:
        if name not in self._sources:
            count, seed = int(getattr(self.config, f"{name}_examples")), [self.seed, SPLITS.index(name)]
            fixed = FixedSource(self._arrays, count, seed) if count else None
            self._sources[name] = fixed or FreshSource(self._arrays, EPOCH, seed)
        return self._sources[name]

    def _arrays(self, count: int, seed: list[int], first: int) -> Batch:
        return generate(self.config, count, seed)

    def references(self, source: Source) -> dict[str, Tensor]:
        """`floor`, `one_line_rule`, `posterior_mean` and `ceiling` in rank tau; see `references.py`."""
        return self.references_by_metric(source)["rank_tau"]

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """The same in every metric that is a mean over pairs: all, by visibility, and by chain depth with hints."""
        examples = source.batch(torch.arange(len(source)))
        limit = self.config.reference_examples if self.config.has_hints else len(source)
        return references.by_metric(examples, limit, self.seed, self.cache)
