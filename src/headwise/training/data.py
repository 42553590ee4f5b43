"""The training data as one stream of batches with a position: what makes an interrupted run continue exactly."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from headwise.files import typed
from headwise.reasoning.draws import keys_of
from headwise.reasoning.trace import Carry
from headwise.tasks.base import KEYS, Batch, Source
from headwise.training.objective import Objective, Part
from headwise.training.processes import Processes

T = TypeVar("T")


class TrainingBatches:
    """The batches of a whole run, epoch after epoch, each a function of (seed, position) alone.

    Its state is its position, so a checkpoint taken between batches resumes with the very next one, on any number of
    processes. What is given of a batch are the parts that this process computes one after the other; a batch with fewer
    examples than there are parts in all is computed whole by every process, which comes to the same.

    Args:
        source: the training split.
        batch_size: examples per batch, over all processes.
        updates: segments to give in all.
        seed: of the order.
        segments: how many times in a row each batch is given, once for each supervised segment; default 1.
        accumulate: parts that a process computes one after the other; default 1.
        processes: that share each batch; default this one alone.
        device: where the batches are put; for another than the CPU they are made one ahead, in memory that it reads.
        keyed: give each example a key to draw from, a function of (seed, number of its batch, index) alone.

    Attributes:
        position: segments given so far, one for each update.
        epoch: of the batch given last, from 0.
        examples: of the batch given last, over all processes.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        updates: int,
        seed: int,
        segments: int = 1,
        accumulate: int = 1,
        processes: Processes | None = None,
        device: str = "cpu",
        keyed: bool = False,
    ) -> None:
        self.source, self.batch_size, self.updates, self.seed = source, batch_size, updates, seed
        self.segments, self.accumulate, self.device, self.keyed = segments, accumulate, device, keyed
        self.processes = processes or Processes()
        self.position, self.epoch, self.examples = 0, 0, 0
        self.updates_per_epoch = len(self._plan(0)) * segments
        self._shares: list[float] = []
        self._carries: dict[int, Carry] = {}

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[list[Batch]]:
        batches = self._from(self.position // self.segments)
        for epoch, examples, parts in batches if self.device == "cpu" else made_ahead(batches):
            if self.position >= self.updates:
                return
            self.epoch, self.examples = epoch, examples
            rows = [len(next(iter(part.values()))) for part in parts]
            self._shares = [count / sum(rows) for count in rows]
            end = min(self.position + self.segments, self.updates)
            while self.position < end:
                self.position += 1
                yield parts

    @property
    def epochs(self) -> float:
        """Passes over the data when the update at hand began."""
        return (self.position - 1) / self.updates_per_epoch

    @property
    def counted(self) -> int:
        """Examples that count with the update at hand: those of a batch with its first segment."""
        return 0 if self.segment else self.examples

    def carry(self, number: int) -> Carry | None:
        """What part `number` of the batch starts from; None: afresh."""
        return self._carries.get(number) if self.segment else None

    def hand_on(self, number: int, out: Objective) -> None:
        """Keep what the next segment of that part starts from, if there is one."""
        if self.between:
            self._carries.pop(number, None)
        else:
            self._carries[number] = out.carry

    def taken(self) -> dict[str, float]:
        """For a line of metrics: nothing more."""
        return {}

    def part(self, terms: Tensor, number: int) -> Part:
        """What the objective must know of part `number` of the batch given last, which has so many loss terms."""
        return Part(terms, self.processes.count, self._shares[number])

    @property
    def segment(self) -> int:
        """The segment that the batch given last was given for, from 0."""
        return (self.position - 1) % self.segments

    @property
    def between(self) -> bool:
        """Whether the next batch is a new one: then nothing is carried over, and a run can be saved."""
        return self.position % self.segments == 0

    def due(self, update: int, every: int) -> bool:
        """Whether what is to happen every so many updates happens after this one: at the end of the batch that passes
        the number, and at the end of the run."""
        ended = update % self.segments == 0
        return update == self.updates or (ended and update // every > (update - self.segments) // every)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = typed(state, "position", int, "batches")
        if self.position < 0 or (not self.between and self.position < self.updates):
            raise ValueError(f"position {self.position} lies within a batch of {self.segments} segments")
        if self.position:
            self.epoch = next(self._indices((self.position - 1) // self.segments))[0]

    def _from(self, number: int) -> Iterator[tuple[int, int, list[Batch]]]:
        """From batch `number` on: epoch, examples, and the parts of this process."""
        for place, (epoch, index) in enumerate(self._indices(number), start=number):
            yield epoch, len(index), [self._batch(part, place) for part in self._parts(index)]

    def _indices(self, number: int) -> Iterator[tuple[int, Tensor]]:
        """From batch `number` on, without end: epoch and examples."""
        # Epochs may have different numbers of batches (bucketing by length), so they are walked, not divided.
        epoch, plan = 0, self._plan(0)
        while True:
            while number >= len(plan):
                number -= len(plan)
                epoch += 1
                plan = self._plan(epoch)
            yield epoch, plan[number]
            number += 1

    def _plan(self, epoch: int) -> list[Tensor]:
        return self.source.plan(self.batch_size, self.seed, epoch, shuffle=True)

    def _parts(self, index: Tensor) -> list[Tensor]:
        if len(index) < self.accumulate * self.processes.count:
            return [index]
        own = index.tensor_split(self.processes.count)[self.processes.rank]
        return list(own.tensor_split(self.accumulate))

    def _batch(self, index: Tensor, number: int) -> Batch:
        batch = self.source.batch(index)
        if self.keyed:
            batch = batch | {KEYS: keys_of(index, self.seed, number)}
        return on_device(batch, self.device)


def on_device(batch: Batch, device: str) -> Batch:
    """The batch there, on its way while the program goes on."""
    if device == "cpu":
        return batch
    pinned = device.startswith("cuda")
    return {
        name: (tensor.pin_memory() if pinned else tensor).to(device, non_blocking=pinned)
        for name, tensor in batch.items()
    }


def made_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in a thread of its own while the one before is used."""
    nothing = object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, nothing)
        while (item := coming.result()) is not nothing:
            coming = pool.submit(next, items, nothing)
            yield item  # type: ignore[misc]


def number_of_terms(terms: list[Tensor]) -> Tensor:
    """All loss terms of the parts of a batch, from those of each example."""
    return torch.stack([part.sum() for part in terms]).sum()
