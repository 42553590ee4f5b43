"""Statistics against published examples and independent formulas, never against their own output."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from headwise.lab.families import holm, levels
from headwise.lab.mixed import estimate
from headwise.lab.power import detectable_effect
from headwise.lab.statistics import _wilson, bootstrap_interval, compare_pair, hedges_g, mean_interval, welch_test

# Student (1908), "The probable error of a mean": extra hours of sleep under two drugs, ten patients. The numbers are
# those that R prints for t.test(extra ~ group, data = sleep) with paired = TRUE and FALSE.
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_the_paired_test_reproduces_students_sleep_data() -> None:
    result = estimate(np.subtract(FIRST, SECOND))
    assert result.mean / result.error == pytest.approx(-4.0621, abs=5e-5)
    assert result.df == 9
    assert result.p() == pytest.approx(0.002833, abs=5e-7)


def test_welchs_test_reproduces_students_sleep_data() -> None:
    result = welch_test(FIRST, SECOND)
    assert result.statistic == pytest.approx(-1.8608, abs=5e-5)
    assert result.df == pytest.approx(17.776, abs=5e-4)
    assert result.p == pytest.approx(0.07939, abs=5e-6)


def test_the_interval_of_the_mean_reproduces_students_sleep_data() -> None:
    mean = mean_interval(np.subtract(FIRST, SECOND))
    assert mean.mean == pytest.approx(-1.58)
    assert mean.interval == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)


def test_three_seeds_get_an_interval_of_4_303_standard_errors_not_1_96() -> None:
    mean = mean_interval([0.1, 0.2, 0.3])
    assert mean.interval is not None
    # Standard error 0.1 / sqrt(3); 4.302653 is the 97.5 % point of t with two degrees of freedom in every table.
    assert mean.interval[1] - mean.mean == pytest.approx(4.302653 * 0.1 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize(("n", "correction"), [(2, 0.5642), (3, 0.7979), (4, 0.8686), (6, 0.9228)])
def test_hedges_correction_is_that_of_his_table(n: int, correction: float) -> None:
    # Hedges (1981), table 1: c(m) for m = 2n - 2 degrees of freedom. The arms differ by d = 3 standard deviations.
    b = np.arange(n, dtype=float)
    a = b + 3 * b.std(ddof=1)
    assert hedges_g(a, b) == pytest.approx(3 * correction, rel=2e-4)


def test_hedges_g_has_the_sign_of_a_minus_b() -> None:
    g = hedges_g(FIRST, SECOND)
    assert g is not None
    assert g == pytest.approx(-(hedges_g(SECOND, FIRST) or 0))
    assert g < 0


def power_by_integration(effect: float, n: int, alpha: float = 0.05) -> float:
    """P(|T| > t_crit) from the definition T = (Z + d sqrt(n)) / sqrt(V / df), integrated over V ~ chi square."""
    df, noncentrality = n - 1, effect * math.sqrt(n)
    critical = stats.t.ppf(1 - alpha / 2, df)

    def beyond(v: float) -> float:
        bound = critical * math.sqrt(v / df)
        tails = stats.norm.sf(bound - noncentrality) + stats.norm.cdf(-bound - noncentrality)
        return float(stats.chi2.pdf(v, df) * tails)

    return float(integrate.quad(beyond, 0, df + 40 * math.sqrt(2 * df), limit=500)[0])


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_detectable_effect_has_the_power_that_it_promises(n: int) -> None:
    effect = detectable_effect(n)
    assert effect is not None
    assert power_by_integration(effect, n) == pytest.approx(0.8, abs=2e-4)


def test_the_detectable_effect_reproduces_the_example_in_the_gpower_manual() -> None:
    # G*Power manual, "Means: difference from constant / matched pairs": N = 50, dz = 0.421637, power 0.832114.
    assert detectable_effect(50, power=0.832114) == pytest.approx(0.421637, abs=5e-6)


def test_two_seeds_need_an_effect_of_more_than_ten_standard_deviations() -> None:
    effect = detectable_effect(2)
    assert effect is not None
    assert effect > 10
    assert detectable_effect(1) is None


def test_the_smallest_detectable_difference_is_in_units_of_the_metric() -> None:
    a, b = [0.51, 0.53, 0.52], [0.50, 0.50, 0.50]
    effect = detectable_effect(3)
    assert effect is not None
    assert compare_pair("a", "b", (a, b)).smallest_detectable == pytest.approx(effect * 0.01)


def test_holm_reproduces_the_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_and_skips_tests_that_were_not_made() -> None:
    assert holm([0.6, None, 0.7]) == [1.0, None, 1.0]
    assert holm([0.02, None]) == [0.02, None]
    assert holm([]) == []


def test_the_levels_of_holm_are_those_at_which_he_tests() -> None:
    # The two smallest fall below 0.05 / 5 and 0.05 / 4; the third meets 0.05 / 3 and ends it for the rest.
    p = [0.3, 0.001, 0.02, 0.012, 0.04]
    assert levels(p) == pytest.approx([0.05 / 3, 0.05 / 5, 0.05 / 3, 0.05 / 4, 0.05 / 3])
    assert [own < level for own, level in zip(p, levels(p), strict=True)] == [q < 0.05 for q in map(float, holm(p))]  # type: ignore[arg-type]
    assert levels([None, 0.01]) == [0.05, 0.05]


def test_the_bca_interval_leans_to_the_long_tail_as_second_order_theory_says() -> None:
    n = 200
    x = stats.expon.ppf((np.arange(n) + 0.5) / n)
    z, s, skewness = 1.959964, x.std(), stats.skew(x)
    # Hall (1992): the BCa end points of a mean are mean + s/sqrt(n) * (z + skewness / (6 sqrt(n)) * (2 z^2 + 1)).
    lean = skewness / (6 * math.sqrt(n)) * (2 * z**2 + 1)
    low, high = x.mean() + s / math.sqrt(n) * (lean - z), x.mean() + s / math.sqrt(n) * (lean + z)
    found = bootstrap_interval(x)
    assert found == pytest.approx((low, high), abs=0.006)
    # The symmetric interval is further away than that, so the lean is really there.
    assert high - (x.mean() + z * s / math.sqrt(n)) > 0.012


def test_a_bootstrap_over_fewer_than_ten_values_is_refused() -> None:
    assert bootstrap_interval(np.arange(9.0)) is None
    assert bootstrap_interval([*np.arange(9.0), math.nan]) is None
    assert bootstrap_interval(np.arange(10.0)) is not None


def test_the_bootstrap_is_reproducible_and_knows_a_constant() -> None:
    x = np.random.default_rng(1).normal(size=50)
    assert bootstrap_interval(x) == bootstrap_interval(x)
    assert bootstrap_interval(np.full(20, 0.25)) == (0.25, 0.25)


def test_one_seed_allows_no_interval_and_no_test() -> None:
    assert mean_interval([0.5]) == mean_interval([0.5, math.nan])
    assert mean_interval([0.5]).interval is None
    pair = compare_pair("a", "b", ([0.5], [0.4]))
    assert (pair.n, pair.interval, pair.p_paired, pair.p_welch) == (1, None, None, None)
    assert (pair.hedges_g, pair.smallest_detectable) == (None, None)
    assert pair.difference == pytest.approx(0.1)
    assert not pair.identical


def test_equal_values_have_p_1_and_are_called_identical() -> None:
    pair = compare_pair("a", "b", ([0.4, 0.5, 0.6], [0.4, 0.5, 0.6]))
    assert pair.p_paired == 1.0
    assert pair.identical
    assert pair.interval == (0.0, 0.0)
    assert pair.smallest_detectable == 0.0


def test_between_two_limits_the_interval_is_wilsons() -> None:
    # 81 of 263 in Newcombe (1998), table I, method 3: 0.2553 to 0.3662, with z for t and the error of a share.
    share = 81 / 263
    assert _wilson(share, math.sqrt(share * (1 - share) / 263), 1.959964, 1) == pytest.approx(
        (0.2553, 0.3662), abs=5e-5
    )
    # 0 of 20, the same table: 0 to 0.1611; the error says nothing there, the number of examples does.
    assert _wilson(0.0, 0.0, 1.959964, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


@pytest.mark.parametrize("limits", [(0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)])
def test_no_interval_leaves_the_limits_of_its_metric(limits: tuple[float, float]) -> None:
    for values in ([0.99, 0.80, 1.0], [0.01, 0.2, 0.0], [1.0, 1.0, 1.0]):
        mean = mean_interval(values, limits=limits)
        assert mean.interval is not None
        assert limits[0] <= mean.interval[0] <= mean.mean <= mean.interval[1] <= limits[1]


def test_far_from_its_limits_an_interval_is_students() -> None:
    values = [0.4982, 0.4991, 0.4986]
    plain, bounded = mean_interval(values), mean_interval(values, limits=(-1.0, 1.0))
    assert bounded.interval == pytest.approx(plain.interval, abs=2e-6)
    assert mean_interval(values, limits=(0.0, math.inf)).interval == pytest.approx(plain.interval, abs=5e-6)


def test_no_difference_is_larger_than_the_metric_allows() -> None:
    pair = compare_pair("a", "b", ([0.9, 0.1, 1.0], [0.1, 0.0, 0.0]), limits=(0.0, 1.0))
    assert pair.interval is not None
    assert pair.interval[1] == 1.0


def test_two_seeds_make_no_test_however_well_they_agree() -> None:
    pair = compare_pair("a", "b", ([0.9640, 0.9652], [0.9520, 0.9531]))
    assert (pair.p_paired, pair.p_welch) == (None, None)


def test_a_gap_without_variation_is_no_significant_result() -> None:
    # A t test would divide by zero and report p = 0 on two seeds.
    a, b = [0.51, 0.52, 0.53], [0.50, 0.51, 0.52]
    assert compare_pair("a", "b", (a, b)).p_paired is None
    assert welch_test([0.5, 0.5, 0.5], [0.4, 0.4, 0.4]).p is None
    assert hedges_g([0.5, 0.5, 0.5], [0.4, 0.4, 0.4]) is None


def test_a_missing_seed_leaves_the_pair_with_its_partner() -> None:
    with_gap = compare_pair("a", "b", ([0.5, math.nan, 0.7, 0.6], [0.4, 0.9, 0.5, 0.55]))
    without = compare_pair("a", "b", ([0.5, 0.7, 0.6], [0.4, 0.5, 0.55]))
    assert with_gap == without
    assert with_gap.n == 3


def test_nothing_in_common_is_no_difference_of_zero() -> None:
    pair = compare_pair("a", "b", ([math.nan, 0.5], [0.4, math.nan]))
    assert pair.n == 0
    assert pair.difference is None


def test_pairs_of_unequal_length_are_an_error() -> None:
    with pytest.raises(ValueError, match="one partner each: 2 against 3"):
        compare_pair("a", "b", ([1.0, 2.0], [1.0, 2.0, 3.0]))


def test_the_interval_over_examples_is_that_of_their_mean_difference() -> None:
    differences = np.random.default_rng(0).normal(0.01, 0.1, 2000)
    tests = [(differences[None], np.zeros((1, 2000)))]
    pair = compare_pair("a", "b", ([0.5, 0.6], [0.4, 0.6]), tests)
    half = 1.96 * 0.1 / math.sqrt(2000)
    assert pair.interval_examples == pytest.approx((differences.mean() - half, differences.mean() + half), abs=6e-4)
