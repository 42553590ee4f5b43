"""Group-sequential looks: published boundaries, and the error rate over all looks by simulation."""

import numpy as np
import pytest
from scipy import special, stats

from headwise.lab.bench.coverage import stopped_wrongly
from headwise.lab.sequential import boundaries, nominal, spent


def test_one_look_is_an_ordinary_test() -> None:
    assert boundaries((1.0,), 0.05) == (pytest.approx(1.959964, abs=1e-6),)
    assert nominal([5], 5, 0.05) == pytest.approx(0.05)


def test_the_boundaries_are_those_that_are_published() -> None:
    # Lan & DeMets's spending after O'Brien and Fleming, two-sided 0.05, five and two equally spaced looks: Proschan,
    # Lan & Wittes (2006), "Statistical Monitoring of Clinical Trials", and the R package ldbounds.
    assert boundaries((0.2, 0.4, 0.6, 0.8, 1.0), 0.05) == pytest.approx(
        (4.8769, 3.3569, 2.6803, 2.2898, 2.0310), abs=2e-3
    )
    assert boundaries((0.5, 1.0), 0.05) == pytest.approx((2.9626, 1.9686), abs=2e-3)


def test_all_of_alpha_is_spent_at_the_end_and_hardly_any_at_the_beginning() -> None:
    assert spent(1.0, 0.05) == pytest.approx(0.05)
    assert spent(0.3, 0.05) < 0.001


def test_a_level_of_several_looks_is_below_that_of_one_and_grows() -> None:
    found = [nominal(range(3, now + 1), 12, 0.05) for now in range(3, 13)]
    assert found == sorted(found)
    assert 0.02 < found[-1] < 0.05


def false_claims(p_values: np.ndarray, seeds: range) -> float:
    """Share of rows whose p value falls below its look's level at any look; `p_values` is [comparisons, looks]."""
    levels = [nominal(seeds[: k + 1], seeds[-1], 0.05) for k in range(len(seeds))]
    return float(np.mean((p_values < levels).any(1)))


@pytest.mark.parametrize("most", [4, 8, 20])
def test_looking_after_every_seed_from_the_third_on_keeps_the_error_rate(most: int) -> None:
    """20 000 comparisons over seeds alone, with Student's p values from as few as three."""
    draws, seeds = np.random.default_rng(most).normal(size=(20_000, most)), range(3, most + 1)
    p_values = np.stack([stats.ttest_1samp(draws[:, :count], 0, axis=1).pvalue for count in seeds], axis=1)
    assert 0.04 <= false_claims(p_values, seeds) <= 0.06
    if most > 4:  # the mistake that this is there for
        assert np.mean((p_values < 0.05).any(1)) > 0.1


def test_looks_at_a_test_set_that_all_seeds_share_keep_it_too() -> None:
    assert stopped_wrongly(8, examples=60, comparisons=1500) <= 0.06


def test_a_look_turns_p_values_of_any_distribution_into_normal_ones() -> None:
    p = 2 * special.stdtr(2, -4.302653)
    assert -special.ndtri(p / 2) == pytest.approx(1.959964, abs=1e-5)
