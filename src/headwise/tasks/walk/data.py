"""Training, validation and test sets of walks, and what reference predictors reach on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headwise.tasks.base import SPLITS, Batch, Source, TaskData
from headwise.tasks.generated import FixedSource, FreshSource
from headwise.tasks.walk import references
from headwise.tasks.walk.config import WalkConfig
from headwise.tasks.walk.graphs import EPOCH, generate


class WalkData(TaskData):
    """Training, validation and test walks from separate random streams, and their references."""

    config: WalkConfig

    def __init__(self, config: WalkConfig, seed: int, cache: Path | None = None) -> None:
        super().__init__(config, seed, cache)
        # What weights are made for: a relation has an embedding of its own, and if need be one for each place.
        places = {} if config.instruction == "steps" else {"hops": config.hops}
        self.facts = {"relations": config.relations, **places}
        self._sources: dict[str, Source] = {}

    def split(self, name: str) -> Source:
        if name not in self._sources:
            count, seed = int(getattr(self.config, f"{name}_examples")), [self.seed, SPLITS.index(name)]
            draw = self._test if name == "test" else self._train
            fixed = FixedSource(draw, count, seed) if count else None
            self._sources[name] = fixed or FreshSource(self._growing, EPOCH, seed)
        return self._sources[name]

    def references(self, source: Source) -> dict[str, Tensor]:
        """`floor` and `ceiling` in accuracy; see `references.py`."""
        return self.references_by_metric(source)["accuracy"]

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """The same by number of hops."""
        return references.by_metric(source.batch(torch.arange(len(source))), self.config.hops)

    def _test(self, count: int, seed: list[int], first: int) -> Batch:
        return generate(self.config, count, seed, self.config.hops)

    def _train(self, count: int, seed: list[int], first: int) -> Batch:
        return generate(self.config, count, seed, self.config.most_trained)

    def _growing(self, count: int, seed: list[int], first: int) -> Batch:
        """Training examples from number `first` of the stream on, under the curriculum if there is one."""
        number, most = np.arange(first, first + count), self.config.most_trained
        grown = 1 + number * (most - 1) // self.config.curriculum if self.config.curriculum else most
        return generate(self.config, count, seed, np.minimum(grown, most))
