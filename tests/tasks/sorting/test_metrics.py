"""Kendall's tau between ranks of elements, and the number that was mistaken for it."""

import numpy as np
import pytest
import scipy.stats
import torch

from headwise.tasks.sorting import SortingConfig
from headwise.tasks.sorting.arrays import generate
from headwise.tasks.sorting.hints import real_hints, smaller_larger
from headwise.tasks.sorting.metrics import agrees, argsort_tau, inverse, kendall_tau, measure, rank_by
from headwise.tasks.sorting.references import one_line_rule


def permutations(count, n, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).random((count, n)).argsort(1))


@pytest.mark.parametrize("n", [2, 3, 12, 40])
def test_tau_is_scipys(n):
    a, b = permutations(30, n, 0), permutations(30, n, 1)
    expected = [scipy.stats.kendalltau(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert kendall_tau(a, b) == pytest.approx(expected, abs=1e-6)


def test_ranks_off_by_one_are_nearly_right_but_the_originals_metric_calls_them_random():
    true = permutations(2000, 20)
    shifted = (true + 1) % 20
    assert kendall_tau(shifted, true).unique().tolist() == pytest.approx([0.80])
    assert argsort_tau(shifted, true).mean().item() == pytest.approx(-0.04, abs=0.015)


def test_argsort_tau_cannot_tell_a_good_sorter_from_a_bad_one():
    """Half of the elements known perfectly, the rest lost: tau is 0.5, the original's number is not."""
    batch = generate(SortingConfig(length=20), 2000, [0])
    best = one_line_rule(batch)
    assert kendall_tau(best, batch["ranks"]).mean().item() == pytest.approx(0.5014, abs=0.01)
    assert argsort_tau(best, batch["ranks"]).mean().item() < 0.25


def test_tau_b_on_tied_scores_overstates_so_ties_are_broken_by_sorting():
    batch = generate(SortingConfig(length=12), 300, [0])
    blocks = torch.where(batch["visible"], batch["values"], 0).numpy()  # the masked elements are one tied block
    tied = [scipy.stats.kendalltau(x, y).statistic for x, y in zip(blocks, batch["ranks"].numpy(), strict=True)]
    broken = kendall_tau(rank_by(torch.from_numpy(blocks)), batch["ranks"])
    assert np.mean(tied) > 0.5014 + 0.05
    assert broken.mean().item() == pytest.approx(0.5014, abs=0.02)


def test_ranks_and_orders_are_inverse_permutations():
    ranks = permutations(5, 9)
    assert torch.equal(inverse(inverse(ranks)), ranks)
    assert torch.equal(rank_by(ranks.float()), ranks)
    assert rank_by(torch.tensor([[3.0, 1.0, 3.0, 1.0]])).tolist() == [[2, 0, 3, 1]]


def test_the_parts_of_tau_add_up_to_tau():
    """Each part is a mean over its pairs; weighted by their numbers, and with the masked pairs, they make the whole."""
    batch = generate(SortingConfig(length=9, mask_rate=0.4), 200, [1])
    predicted = permutations(200, 9, 5)
    found = measure(predicted, batch)
    masked = ~batch["visible"]
    both_masked = [
        scipy.stats.kendalltau(predicted[i][masked[i]], batch["ranks"][i][masked[i]]).statistic for i in range(200)
    ]
    whole = (10 * found["rank_tau_visible"] + 20 * found["rank_tau_mixed"] + 6 * torch.tensor(both_masked)) / 36
    assert found["rank_tau"] == pytest.approx(whole, abs=1e-6)


def test_a_perfect_prediction_is_perfect_in_every_metric():
    batch = generate(SortingConfig(length=12, hints=20), 200, [0])
    for name, value in measure(batch["ranks"], batch).items():
        assert value[~value.isnan()].eq(1).all(), name


def test_a_reversed_prediction_is_wrong_in_every_pair():
    batch = generate(SortingConfig(length=12, hints=20), 200, [0])
    found = measure(11 - batch["ranks"], batch)
    for name in (name for name in found if name.startswith("rank_tau")):
        assert found[name][~found[name].isnan()].eq(-1).all(), name
    assert found["slot_accuracy"].eq(0).all()
    assert found["perfect"].eq(0).all()


def test_slot_accuracy_and_perfect_rate_count_elements_and_arrays():
    batch = {"ranks": torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]]), "visible": torch.ones(2, 4, dtype=torch.bool)}
    found = measure(torch.tensor([[0, 1, 3, 2], [0, 1, 2, 3]]), batch)
    assert found["slot_accuracy"].tolist() == [0.5, 1.0]
    assert found["perfect"].tolist() == [0.0, 1.0]


def test_an_example_without_such_pairs_measures_nothing():
    found = measure(permutations(4, 6), generate(SortingConfig(length=6, mask_rate=0.0), 4, [0]))
    assert found["rank_tau_mixed"].isnan().all()
    assert found["rank_tau"].isfinite().all()


def test_ranks_agree_with_what_is_shown_if_they_contradict_no_value_and_no_hint():
    batch = generate(SortingConfig(length=6, mask_rate=0.5, hints=4), 40, [0])
    assert agrees(batch["ranks"], batch).all()
    low, high = smaller_larger(batch)
    for example in range(40):
        one = {name: array[example : example + 1] for name, array in batch.items()}
        for order in permutations(20, 6, example):
            shown = [
                (i, j)
                for i in range(6)
                for j in range(6)
                if one["visible"][0, i] and one["visible"][0, j] and one["values"][0, i] < one["values"][0, j]
            ]
            shown += [
                (int(i), int(j))
                for i, j, real in zip(low[example], high[example], real_hints(one)[0], strict=True)
                if real
            ]
            assert agrees(order[None], one).item() == all(order[i] < order[j] for i, j in shown)
