"""Rows of different lengths, and batches of sentences of similar length."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from headwise.tasks.parsing.buckets import buckets
from headwise.tasks.parsing.ragged import Ragged

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=80)


def test_a_batch_of_ragged_rows_is_padded_to_its_longest():
    rows = Ragged.of([[1, 2, 3], [4], [5, 6]])
    assert rows.batch(torch.tensor([1, 2]), fill=-1).tolist() == [[4, -1], [5, 6]]
    assert rows.batch(torch.tensor([0])).tolist() == [[1, 2, 3]]
    assert rows.lengths.tolist() == [3, 1, 2]


@given(LENGTHS, st.integers(1, 200), st.none() | st.integers(0, 5))
def test_every_sentence_is_in_one_batch_and_no_batch_passes_the_budget(lengths, budget, seed):
    costs = np.array(lengths)
    batches = buckets(costs, budget, None if seed is None else np.random.default_rng(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(len(costs)))
    for batch in batches:
        padded = len(batch) * costs[batch.numpy()].max()
        assert padded <= budget or len(batch) == 1


def test_the_order_of_training_follows_from_its_seed_alone():
    costs = np.random.default_rng(0).integers(1, 40, 500)
    first, again, other = ([b.tolist() for b in buckets(costs, 300, np.random.default_rng(s))] for s in (1, 1, 2))
    assert first == again
    assert first != other


def test_little_of_a_training_batch_is_padding():
    costs = np.random.default_rng(0).geometric(1 / 15, 5000).clip(1, 80)
    batches = [batch.numpy() for batch in buckets(costs, 800, np.random.default_rng(0))]
    padded = sum(len(batch) * costs[batch].max() for batch in batches)
    assert costs.sum() / padded > 0.9
