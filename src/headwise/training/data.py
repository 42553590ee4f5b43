"""The training data as one stream of batches with a position: what makes an interrupted run continue exactly."""

from collections.abc import Iterator

from torch import Tensor

from headwise.tasks.base import Batch, Source


class TrainingBatches:
    """The batches of a whole run, epoch after epoch, each a function of (seed, position) alone.

    Its state is its position, so a checkpoint taken between batches resumes with the very next one. Lightning saves and
    restores it (`state_dict`, `load_state_dict`). With several processes, process `rank` of `world` takes every
    world-th batch of an epoch, and what is left over at the end of the epoch is dropped, so that all take equally many.

    Args:
        source: the training split.
        batch_size: examples per batch.
        updates: segments to give in all.
        seed: of the order.
        segments: how many times in a row each batch is given, once for each supervised segment; default 1.
        rank, world: which process of how many; default 0 of 1.

    Raises:
        ValueError: the source has too few batches to give each process one.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        updates: int,
        seed: int,
        segments: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.source, self.batch_size, self.updates, self.seed = source, batch_size, updates, seed
        self.segments, self.rank, self.world = segments, rank, world
        self.position = 0  # segments given so far, one for each update
        self._epoch, self._start = 0, 0  # the epoch of the latest batch, and the number of that epoch's first one
        self._plan = self._plan_of(0)
        self.updates_per_epoch = len(self._plan) * segments
        if not self._plan:
            raise ValueError(f"{len(source)} training examples give no batch to each of {world} processes")

    def __len__(self) -> int:
        return self.updates

    def __iter__(self) -> Iterator[Batch]:
        while self.position < self.updates:
            number = self.position // self.segments
            self._enter_epoch_of(number)
            batch = self.source.batch(self._plan[number - self._start])
            end = min(self.segments * (number + 1), self.updates)
            while self.position < end:
                self.position += 1
                yield batch

    @property
    def epoch(self) -> int:
        """The epoch of the batch given last, from 0."""
        return self._epoch

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
        self.position = state["position"]
        self._epoch, self._start, self._plan = 0, 0, self._plan_of(0)
        self._enter_epoch_of((self.position - 1) // self.segments)

    def _enter_epoch_of(self, number: int) -> None:
        # Epochs may have different numbers of batches (bucketing by length), so they are walked, not divided.
        while number - self._start >= len(self._plan):
            self._start += len(self._plan)
            self._epoch += 1
            self._plan = self._plan_of(self._epoch)

    def _plan_of(self, epoch: int) -> list[Tensor]:
        plan = self.source.plan(self.batch_size, self.seed, epoch, shuffle=True)
        own = plan[self.rank :: self.world]
        return own[: len(plan) // self.world]
