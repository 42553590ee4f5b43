"""Differences paired over seeds and test examples: the two-way layout by hand, its limits, and simulated truth."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from headwise.lab.bench.coverage import REGIMES, World, covered, equivalent
from headwise.lab.mixed import MATCHING, Components, Estimate, estimate, p_value


def test_the_variances_are_those_of_the_two_way_layout() -> None:
    # Two seeds, three examples. Means over seeds 1, 2, 12: mean square 2 * 37 = 74. What is left after row and column
    # means is 1, 0, -1 and its negative: mean square 4 / 2 = 2. Means of the seeds 5 and 5: no scatter.
    table = np.array([[2.0, 2.0, 11.0], [0.0, 2.0, 13.0]])
    found = estimate(table.mean(1), [table])
    assert found.shared == pytest.approx((74 - 2) / 6)
    assert found.scatter == 0.0
    assert found.components == Components(seed=0.0, example=pytest.approx(36.0), interaction=pytest.approx(2.0))
    # Shifted by 0 and 4 the seeds scatter: variance 8, of which interaction makes 2 / 3.
    found = estimate(np.array([5.0, 9.0]), [table + np.array([[0.0], [4.0]])])
    assert found.scatter == pytest.approx(8 / 2)
    assert found.components is not None
    assert found.components.seed == pytest.approx(8 - 2 / 3)
    assert sum(found.components.variance(2, 3)) == pytest.approx(found.scatter + found.shared)


def test_a_variance_of_examples_that_is_not_shown_counts_as_none() -> None:
    # As above with 6 in place of 12: F = 14 / 2 with 2 and 2 degrees of freedom, where chance exceeds 9 once in ten.
    table = np.array([[2.0, 2.0, 5.0], [0.0, 2.0, 7.0]])
    assert estimate(table.mean(1) + np.array([0.0, 1.0]), [table]).shared == 0.0


def test_seeds_with_test_sets_of_their_own_make_students_test() -> None:
    tables = [np.array([[1.0, 2.0, 6.0]]), np.array([[1.0, 4.0, 6.0]]), np.array([[0.0, 2.0, 5.0]])]
    means = np.array([one.mean() for one in tables])
    found = estimate(means, tables)
    assert (found.shared, found.examples) == (0.0, 9)
    assert found.p() == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert found.interval(0.95) == pytest.approx(tuple(stats.ttest_1samp(means, 0).confidence_interval()))


def test_an_example_with_nothing_to_measure_is_left_out() -> None:
    table = np.random.default_rng(0).normal(size=(3, 5)) + np.arange(5)
    gap = np.append(table, [[0.0], [math.nan], [1.0]], axis=1)
    assert estimate(table.mean(1), [gap]) == estimate(table.mean(1), [table])
    assert estimate(table.mean(1), [table[:, :1]]) == estimate(table.mean(1)) == estimate(table.mean(1), [])


def test_without_a_shared_test_set_the_p_value_is_students_and_the_limit_is_smooth() -> None:
    for seeds in (3, 6):
        for mean in (0.5, 2.0, 8.0):
            student = 2 * stats.t.sf(mean, seeds - 1)
            assert p_value(mean, 1.0, seeds) == pytest.approx(student)
            assert p_value(mean, 1.0, seeds, 1e-12, 1e6) == pytest.approx(student, rel=1e-5)


def test_without_scatter_only_the_examples_count() -> None:
    assert p_value(1.96, 0.0, 3, 1.0, 1e9) == pytest.approx(2 * stats.norm.sf(1.96))
    assert p_value(2.0, 0.0, 3, 1.0, 20) == pytest.approx(2 * stats.t.sf(2.0, 20))


def test_the_p_value_is_the_integral_that_it_says() -> None:
    scatter, shared, mean, df = 0.7, 0.4, 2.3, 3

    def fiducial(degrees: int) -> float:
        def tail(x: float) -> float:
            return float(stats.chi2.pdf(x, degrees) * 2 * stats.norm.sf(mean / math.sqrt(scatter * df / x + shared)))

        return float(integrate.quad(tail, 0, 200, limit=500)[0])

    weight = MATCHING * shared / (scatter + MATCHING * shared)
    expected = (1 - weight) * fiducial(df) + weight * fiducial(df + 2)
    assert p_value(mean, scatter, df + 1, shared, 1e12) == pytest.approx(expected, rel=1e-7)


def test_interval_and_p_value_agree() -> None:
    found = Estimate(1.0, seeds=4, examples=50, scatter=0.1, shared=0.2, shared_df=40)
    for confidence in (0.9, 0.95, 0.99):
        low, high = found.interval(confidence)
        assert found.p(low) == pytest.approx(1 - confidence)
        assert found.p(high) == pytest.approx(1 - confidence)


def test_many_seeds_on_one_test_set_do_not_make_up_for_its_size() -> None:
    variances = Components(seed=1.0, example=1.0, interaction=1.0)
    assert sum(variances.variance(10**9, 100)) == pytest.approx(0.01)
    assert sum(variances.variance(3, 10**9)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("seeds", [3, 4, 10])
def test_true_nulls_are_rejected_in_4_to_6_of_100_whichever_variance_is_large(seeds: int) -> None:
    """Without drawing: over what the scatter of the seeds may be, of which shares make the true variance."""
    quantiles = (np.arange(40) + 0.5) / 40
    scatters = stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1)
    for share in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        found = [Estimate(0.0, seeds, 1000, share * one, 1 - share, 1e6) for one in scatters]
        half = np.array([one.critical(0.95) * one.error for one in found])
        assert 0.0395 <= np.mean(2 * stats.norm.sf(half)) <= 0.06


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_of_2000_comparisons_cover_the_truth_in_93_to_97_of_100(regime: str, seeds: int) -> None:
    """One test set for all seeds; seeds that agree by chance are among them."""
    assert 0.93 <= covered(World(regime, seeds)) <= 0.97


@pytest.mark.parametrize("seeds", [3, 10])
def test_intervals_cover_as_well_where_each_seed_has_its_own_test_set(seeds: int) -> None:
    assert 0.94 <= covered(World("both", seeds, nested=True)) <= 0.96


def test_a_test_over_seeds_alone_would_reject_nearly_always_where_they_share_a_test_set() -> None:
    """The mistake that the shared variance is there for: seeds agree on what their test set got wrong."""
    found = list(World("examples", 3).estimates(200))
    naive = [p_value(one.mean, one.scatter, 3) < 0.05 for one in found]
    assert np.mean(naive) > 0.5


def test_arms_that_differ_by_just_what_matters_are_called_equivalent_in_5_of_100() -> None:
    assert 0.035 <= equivalent(World("both", 5), comparisons=1000) <= 0.065
