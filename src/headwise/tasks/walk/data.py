"""Training, validation and test sets of walks, and what reference predictors reach on them."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headwise.tasks.base import SPLITS, Batch, Source, TaskData
from headwise.tasks.generated import FixedSource, FreshSource
from headwise.tasks.walk import references
from headwise.tasks.walk.config import EPOCH, WalkConfig
from headwise.tasks.walk.graphs import generate, paused
from headwise.tasks.walk.triples import Graph, graph_of, held_out, queries

PAUSES = 1
"""Behind a seed: the stream that pauses are drawn from, so that the walks are those without."""


class GraphSource(Source):
    """Queries on one graph, whose triples go with each batch.

    Args:
        queries: without them.
        triples: int64 [M, 3].
    """

    def __init__(self, queries: Source, triples: np.ndarray) -> None:
        self.queries, self.triples = queries, torch.from_numpy(triples)

    def __len__(self) -> int:
        return len(self.queries)

    def batch(self, index: Tensor) -> Batch:
        return self.queries.batch(index) | {"triples": self.triples.expand(len(index), -1, -1)}

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        return self.queries.plan(batch_size, seed, epoch, shuffle)

    def fingerprint(self) -> str:
        """Digest of the queries and, once, of the triples."""
        return hashlib.sha256(self.queries.fingerprint().encode() + self.triples.numpy().tobytes()).hexdigest()[:16]


class WalkData(TaskData):
    """Training, validation and test walks from separate random streams, and their references.

    Raises:
        InputError: a graph that cannot be read or does not fit (see `triples.graph_of`); from `split`: queries of it
            that there are not.
    """

    config: WalkConfig

    def __init__(self, config: WalkConfig, seed: int, cache: Path | None = None) -> None:
        super().__init__(config, seed, cache)
        # What weights are made for: a relation has an embedding of its own, and if need be one for each place.
        self.facts = {"relations": config.relations if config.graph is None else list(self.graph.relations)}
        if config.instruction != "steps":
            self.facts["hops"] = config.hops
        if config.graph is not None:
            self.notes = {"entities": len(self.graph.entities), "triples": len(self.graph.triples)}
        self._sources: dict[str, Source] = {}

    @cached_property
    def graph(self) -> Graph:
        """What the user's files hold."""
        return graph_of(self.config)

    def split(self, name: str) -> Source:
        if name not in self._sources:
            count, seed = int(getattr(self.config, f"{name}_examples")), [self.seed, SPLITS.index(name)]
            draw = self._test if name == "test" else self._train
            source: Source = FixedSource(draw, count, seed) if count else FreshSource(self._growing, EPOCH, seed)
            if self.config.graph is not None:
                shown = self.graph if name == "test" else self.graph.known
                source = GraphSource(source, shown.triples)
            self._sources[name] = source
        return self._sources[name]

    def references(self, source: Source) -> dict[str, Tensor]:
        """`floor` and `ceiling` in accuracy; see `references.py`."""
        return self.references_by_metric(source)["accuracy"]

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """The same by number of hops."""
        batch = source.batch(torch.arange(len(source)))
        return references.by_metric(batch, len(self.config.names), self.config.hops)

    def _test(self, count: int, seed: list[int], first: int) -> Batch:
        config = self.config
        least, most = (1, config.hops) if config.test_hops is None else (config.test_hops, config.test_hops)
        if config.graph is None:
            return generate(config, count, seed, most, least)

        def wanted(instruction: np.ndarray, new: np.ndarray) -> np.ndarray:
            alone = (instruction < len(config.names)).sum(1) == 1
            kept: np.ndarray = alone | self._held_out(instruction) if config.share_held_out else np.ones_like(alone)
            return np.logical_and(kept, new) if config.test_graph is not None else kept

        return queries(self.graph, config, count, seed, most, wanted, least)

    def _train(self, count: int, seed: list[int], first: int) -> Batch:
        return self._drawn(count, seed, self.config.most_trained)

    def _growing(self, count: int, seed: list[int], first: int) -> Batch:
        """Training examples from number `first` of the stream on, under the curriculum if there is one."""
        number, most = np.arange(first, first + count), self.config.most_trained
        grown = 1 + number * (most - 1) // self.config.curriculum if self.config.curriculum else most
        return self._drawn(count, seed, np.minimum(grown, most))

    def _drawn(self, count: int, seed: list[int], most: np.ndarray | int) -> Batch:
        batch = self._walks(count, seed, most)
        return paused(batch, len(self.config.names), [*seed, PAUSES]) if self.config.pauses else batch

    def _walks(self, count: int, seed: list[int], most: np.ndarray | int) -> Batch:
        if self.config.graph is None:
            return generate(self.config, count, seed, most)

        def wanted(instruction: np.ndarray, new: np.ndarray) -> np.ndarray:
            kept: np.ndarray = ~self._held_out(instruction)
            return kept

        return queries(self.graph.known, self.config, count, seed, most, wanted)

    def _held_out(self, instruction: np.ndarray) -> np.ndarray:
        return held_out(instruction, len(self.config.names), self.config.share_held_out, self.seed)
