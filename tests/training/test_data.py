"""The stream of training batches."""

from itertools import chain

import pytest
import torch
from torch import Tensor

from headwise.tasks.base import Batch, Source
from headwise.training.data import TrainingBatches


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
    return [batch["number"].tolist() for batch in batches]


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
    started = [next(stream)["number"].tolist() for _ in range(stop)]
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
    seen = [(batch["number"].tolist(), batches.segment, batches.between) for batch in batches]
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


def test_several_processes_share_an_epoch_without_overlap_and_take_equally_many() -> None:
    parts = [numbers(TrainingBatches(Numbers(22), 4, 2, seed=0, rank=rank, world=2)) for rank in (0, 1)]
    whole = numbers(TrainingBatches(Numbers(22), 4, 6, seed=0))
    assert parts == [[whole[0], whole[2]], [whole[1], whole[3]]]
    shared = [TrainingBatches(Numbers(22), 4, 2, seed=0, rank=rank, world=4) for rank in range(4)]
    assert {batches.updates_per_epoch for batches in shared} == {1}


def test_too_few_batches_for_all_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="8 training examples give no batch to each of 3 processes"):
        TrainingBatches(Numbers(8), 4, 1, seed=0, world=3)
