"""Training, validation and test sets of arrays, and what reference predictors reach on them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from headwise.tasks.base import SPLITS, Batch, Source, TaskData
from headwise.tasks.sorting import references
from headwise.tasks.sorting.arrays import EPOCH, SortingConfig, generate


class FixedSource(Source):
    """A set of arrays, generated once."""

    def __init__(self, config: SortingConfig, count: int, seed: list[int]) -> None:
        self.examples = generate(config, count, seed)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, index: Tensor) -> Batch:
        return {name: array[index] for name, array in self.examples.items()}


class FreshSource(Source):
    """Arrays without end: example i is row i % EPOCH of block i // EPOCH, and epoch e is block e."""

    def __init__(self, config: SortingConfig, seed: list[int]) -> None:
        self.config = config
        self.seed = seed
        self._last: tuple[int, Batch] = (-1, {})

    def __len__(self) -> int:
        return EPOCH

    def batch(self, index: Tensor) -> Batch:
        blocks = index.div(EPOCH, rounding_mode="floor")
        if len(blocks) and bool((blocks == blocks[0]).all()):  # what `plan` asks for
            return {name: array[index % EPOCH] for name, array in self._block(int(blocks[0])).items()}
        rows = [self.batch(index[i : i + 1]) for i in range(len(index))]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _block(self, block: int) -> Batch:
        if self._last[0] != block:
            self._last = (block, generate(self.config, EPOCH, [*self.seed, block]))
        return self._last[1]

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        """The block of this epoch, in order: fresh examples need no shuffling."""
        return list(torch.split(torch.arange(epoch * EPOCH, (epoch + 1) * EPOCH), batch_size))


class SortingData(TaskData):
    """Training, validation and test arrays from separate random streams, and their references."""

    config: SortingConfig

    def __init__(self, config: SortingConfig, seed: int, cache: Path | None = None) -> None:
        super().__init__(config, seed, cache)
        self._sources: dict[str, Source] = {}

    def split(self, name: str) -> Source:
        if name not in self._sources:
            count, seed = int(getattr(self.config, f"{name}_examples")), [self.seed, SPLITS.index(name)]
            self._sources[name] = FixedSource(self.config, count, seed) if count else FreshSource(self.config, seed)
        return self._sources[name]

    def references(self, source: Source) -> dict[str, Tensor]:
        """`floor`, `one_line_rule`, `posterior_mean` and `ceiling` in rank tau; see `references.py`."""
        return self.references_by_metric(source)["rank_tau"]

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """The same in every metric that is a mean over pairs: all, by visibility, and by chain depth with hints."""
        examples = source.batch(torch.arange(len(source)))
        limit = self.config.reference_examples if self.config.has_hints else len(source)
        return references.by_metric(examples, limit, self.seed, self.cache)
