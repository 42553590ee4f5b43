"""McNemar's exact test against a published table, and its form for several seeds against all flips written out."""

from itertools import product

import numpy as np
import pytest

from headwise.lab.mcnemar import is_share, mcnemar, sign_flip_p
from headwise.lab.statistics import compare_pair


def outcomes(only_a: int, only_b: int, same: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong answers of two models that differ so often."""
    a = np.array([1.0] * only_a + [0.0] * only_b + [1.0] * same)
    return a, np.array([0.0] * only_a + [1.0] * only_b + [1.0] * same)


def test_mcnemar_is_the_binomial_test_of_the_examples_on_which_the_models_differ() -> None:
    # Agresti (2002), Categorical Data Analysis, section 10.1: exact two-sided p of 10 against 2 is 2 * 79 / 4096.
    found = mcnemar(*outcomes(10, 2))
    assert (found.only_a, found.only_b) == (10, 2)
    assert found.p == pytest.approx(2 * (66 + 12 + 1) / 4096)
    assert mcnemar(*outcomes(0, 0)).p == 1.0
    with_gap = [np.append(one, np.nan) for one in outcomes(10, 2)]
    assert mcnemar(*with_gap) == found


def test_with_one_seed_all_seeds_together_are_that_seed() -> None:
    a, b = outcomes(10, 2)
    assert sign_flip_p([(a[None], b[None])]) == pytest.approx(mcnemar(a, b).p)


def test_an_example_swaps_its_arms_for_all_seeds_at_once() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 2, (3, 9)).astype(float) for _ in range(2))
    sums = (a - b).sum(0)
    flipped = [abs(float(np.dot(signs, sums))) for signs in product((-1, 1), repeat=len(sums))]
    expected = np.mean([one >= abs(sums.sum()) for one in flipped])
    assert sign_flip_p([(a, b)]) == pytest.approx(expected)


def test_three_seeds_that_are_one_count_as_one() -> None:
    a, b = outcomes(10, 2)
    three = sign_flip_p([(np.stack([a] * 3), np.stack([b] * 3))])
    assert three == pytest.approx(mcnemar(a, b).p)  # adding up the counts would give 30 against 6
    own_sets = [(a[None], b[None])] * 3
    assert sign_flip_p(own_sets) < three


def test_only_shares_are_tested_so() -> None:
    a, b = outcomes(6, 1)
    values = ([0.5, 0.6, 0.7], [0.4, 0.5, 0.5])
    pair = compare_pair("a", "b", values, [(np.stack([a] * 3), np.stack([b] * 3))])
    assert pair.discordant is not None
    assert [(one.only_a, one.only_b) for one in pair.discordant] == [(6, 1)] * 3
    assert pair.p_examples == pytest.approx(mcnemar(a, b).p)
    assert not is_share([])
    assert compare_pair("a", "b", values, [(np.stack([a] * 3) / 2, np.stack([b] * 3))]).p_examples is None
