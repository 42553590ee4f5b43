"""Sources of examples that a generator draws: a set of them, or examples without end."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from headwise.tasks.base import Batch, Source


class Generator(Protocol):
    """Draws examples, a function of its arguments alone."""

    def __call__(self, count: int, seed: list[int], first: int) -> Batch:
        """So many examples.

        Args:
            count: how many.
            seed: of everything random in them.
            first: the number of the first one in the stream, from 0, for what changes along it.
        """


class FixedSource(Source):
    """A set of examples, generated once."""

    def __init__(self, generate: Generator, count: int, seed: list[int]) -> None:
        self.examples = generate(count, seed, 0)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, index: Tensor) -> Batch:
        return {name: array[index] for name, array in self.examples.items()}


class FreshSource(Source):
    """Examples without end: example i is row i % n of block i // n, and epoch e is block e.

    Args:
        generate: draws a block.
        size: n, examples that are called an epoch.
        seed: of the stream.
    """

    def __init__(self, generate: Generator, size: int, seed: list[int]) -> None:
        self.generate, self.size, self.seed = generate, size, seed
        self._last: tuple[int, Batch] = (-1, {})

    def __len__(self) -> int:
        return self.size

    def batch(self, index: Tensor) -> Batch:
        blocks = index.div(self.size, rounding_mode="floor")
        if len(blocks) and bool((blocks == blocks[0]).all()):  # what `plan` asks for
            return {name: array[index % self.size] for name, array in self._block(int(blocks[0])).items()}
        rows = [self.batch(index[i : i + 1]) for i in range(len(index))]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    def _block(self, block: int) -> Batch:
        if self._last[0] != block:
            self._last = (block, self.generate(self.size, [*self.seed, block], block * self.size))
        return self._last[1]

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        """The block of this epoch, in order: fresh examples need no shuffling."""
        return list(torch.split(torch.arange(epoch * self.size, (epoch + 1) * self.size), batch_size))
