"""Equivalence: two one-sided tests, against the interval that they are the same as."""

import numpy as np
import pytest
from scipy import stats

from headwise.errors import InputError
from headwise.lab.equivalence import check_effect, equivalence_p
from headwise.lab.mixed import Estimate, estimate


def test_two_one_sided_tests_are_those_of_students() -> None:
    gaps = np.array([0.01, -0.02, 0.03, 0.00, 0.01])
    one_sided = [
        stats.ttest_1samp(gaps, 0.05, alternative="less").pvalue,
        stats.ttest_1samp(gaps, -0.05, alternative="greater").pvalue,
    ]
    assert equivalence_p(estimate(gaps), 0.05) == pytest.approx(max(one_sided))


@pytest.mark.parametrize("mean", [0.0, 0.6, 0.9, 1.1, -1.3])
def test_arms_are_equivalent_where_the_90_per_cent_interval_lies_within(mean: float) -> None:
    found = Estimate(mean, seeds=4, examples=100, scatter=0.03, shared=0.05, shared_df=90)
    p = equivalence_p(found, 1.5)
    assert p is not None
    low, high = found.interval(0.9)
    assert (p < 0.05) == (low > -1.5 and high < 1.5)


def test_outside_of_what_matters_the_p_value_is_above_a_half() -> None:
    p = equivalence_p(Estimate(3.0, seeds=4, scatter=0.03), 1.0)
    assert p is not None
    assert p > 0.99


def test_without_variation_there_is_no_test() -> None:
    assert equivalence_p(Estimate(0.0, seeds=3), 1.0) is None
    assert equivalence_p(Estimate(0.0, seeds=1), 1.0) is None


@pytest.mark.parametrize("effect", [0.0, -0.1])
def test_an_effect_that_is_none_is_refused(effect: float) -> None:
    with pytest.raises(InputError, match=r"effect=-?0.*above 0"):
        check_effect(effect)
    check_effect(None)
