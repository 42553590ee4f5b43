"""The stream of training batches."""

from collections.abc import Iterator
from itertools import chain

import pytest
import torch
from torch import Tensor

from headwise.tasks.base import KEYS, Batch, Source
from headwise.training.data import TrainingBatches, made_ahead
from headwise.training.processes import Processes


class Numbers(Source):
    """Example i is the number i."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batch(self, index: Tensor) -> Batch:
        return {"number": index}


class Growing(Numbers):
    """One batch more each epoch, as a bucketing plan may have."""

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        return [torch.tensor([epoch, i]) for i in range(epoch + 1)]


def numbers(batches: TrainingBatches) -> list[list[int]]:
    return [batch["number"].tolist() for (batch,) in batches]


def test_each_epoch_holds_every_example_once_in_an_order_of_its_own() -> None:
    given = numbers(TrainingBatches(Numbers(10), 4, 6, seed=0))
    epochs = [list(chain(*given[:3])), list(chain(*given[3:]))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(10))
    assert epochs[0] != epochs[1]


def test_the_order_depends_on_the_seed_alone() -> None:
    first = numbers(TrainingBatches(Numbers(10), 4, 6, seed=0))
    assert first == numbers(TrainingBatches(Numbers(10), 4, 6, seed=0))
    assert first != numbers(TrainingBatches(Numbers(10), 4, 6, seed=1))


@pytest.mark.parametrize("source", [Numbers(10), Growing(10)])
@pytest.mark.parametrize("stop", [0, 1, 3, 4, 9])
def test_a_stream_resumed_at_any_position_gives_the_rest_of_the_batches(source: Source, stop: int) -> None:
    whole = numbers(TrainingBatches(source, 4, 10, seed=0))
    before = TrainingBatches(source, 4, 10, seed=0)
    stream = iter(before)
    started = [next(stream)[0]["number"].tolist() for _ in range(stop)]
    after = TrainingBatches(source, 4, 10, seed=0)
    after.load_state_dict(before.state_dict())
    assert after.epoch == before.epoch
    assert started + numbers(after) == whole


def test_the_epoch_is_that_of_the_latest_batch() -> None:
    batches = TrainingBatches(Growing(10), 2, 6, seed=0)
    assert [batches.epoch for _ in batches] == [0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("source", [Numbers(10), Growing(10)])
def test_a_batch_is_given_once_for_each_segment(source: Source) -> None:
    once, batches = numbers(TrainingBatches(source, 4, 3, seed=0)), TrainingBatches(source, 4, 8, seed=0, segments=3)
    seen = [(batch["number"].tolist(), batches.segment, batches.between) for (batch,) in batches]
    thrice = [(batch, segment, segment == 2) for batch in once for segment in range(3)]
    assert seen == thrice[:8], "the run may end within a batch"
    for stop in (3, 6):
        after = TrainingBatches(source, 4, 8, seed=0, segments=3)
        after.load_state_dict({"position": stop})
        assert numbers(after) == [batch for batch, _, _ in thrice[stop:8]]


def test_what_is_due_within_a_batch_waits_for_its_end() -> None:
    plain, segmented = (TrainingBatches(Numbers(10), 4, 20, seed=0, segments=s) for s in (1, 3))
    assert [u for u in range(1, 21) if plain.due(u, 5)] == [5, 10, 15, 20]
    assert [u for u in range(1, 21) if segmented.due(u, 5)] == [6, 12, 15, 20]
    assert [u for u in range(1, 21) if segmented.due(u, 2)] == [3, 6, 9, 12, 15, 18, 20]


@pytest.mark.parametrize(("count", "accumulate"), [(1, 2), (2, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("source", [Numbers(22), Growing(10)])
def test_processes_and_parts_share_each_batch_of_the_one_order(source: Source, count: int, accumulate: int) -> None:
    whole = numbers(TrainingBatches(source, 6, 9, seed=0))
    streams = [
        TrainingBatches(source, 6, 9, seed=0, accumulate=accumulate, processes=Processes(rank, count))
        for rank in range(count)
    ]
    for batch, *of_processes in zip(whole, *streams, strict=True):
        parts = [part["number"].tolist() for of_process in of_processes for part in of_process]
        if len(batch) < count * accumulate:
            assert parts == [batch] * count, "too small to be shared: every process computes it whole"
        else:
            assert list(chain(*parts)) == batch
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert {stream.examples for stream in streams} == {len(batch)}


def test_batches_made_ahead_are_the_same_and_an_error_is_not_lost() -> None:
    assert list(made_ahead(iter(range(5)))) == list(range(5))

    def failing() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    items = made_ahead(failing())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


def keyed(seed: int, start: int = 0, processes: Processes | None = None, parts: int = 1) -> list[tuple[int, ...]]:
    """Batch, example and key of everything that a process is given after `start` batches."""
    batches = TrainingBatches(Numbers(8), 8, 3, seed, accumulate=parts, processes=processes, keyed=True)
    batches.position = start
    return sorted(
        (batches.position, *pair)
        for given in batches
        for part in given
        for pair in zip(part["number"].tolist(), part[KEYS].tolist(), strict=True)
    )


@pytest.mark.parametrize(("count", "parts"), [(1, 3), (2, 1), (3, 2)])
def test_the_key_of_an_example_does_not_depend_on_who_computes_it(count: int, parts: int) -> None:
    """Each batch gives an example another key, and a resumed stream the same."""
    alone = keyed(0)
    shared = [each for rank in range(count) for each in keyed(0, 0, Processes(rank, count), parts)]
    assert sorted(shared) == alone
    assert keyed(0, 1) == [each for each in alone if each[0] > 1]
    keys = [key for *_, key in [*alone, *keyed(1)]]
    assert len(set(keys)) == len(keys)
    assert KEYS not in next(iter(TrainingBatches(Numbers(8), 8, 3, 0)))[0]
