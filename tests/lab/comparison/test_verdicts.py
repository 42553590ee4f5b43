"""What may be said: every kind of verdict on made-up seeds whose right answer is plain."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from headwise.lab.comparison.verdicts import MetricBounds, Verdict, headline, standing, verdict
from headwise.lab.statistics import compare_pair, holm, mean_interval

SORTING = MetricBounds(floor=0.0, ceiling=0.5014)


def judge(
    a: Sequence[float], b: Sequence[float], scale: MetricBounds = SORTING, p_holm: float | None = None
) -> Verdict:
    pair = replace(compare_pair("hrm", "baseline", (a, b)), p_holm=p_holm)
    return verdict(pair, (mean_interval(a), mean_interval(b)), scale)


def test_a_clear_gain_is_better_with_its_size_and_share() -> None:
    said = judge([0.441, 0.452, 0.446, 0.449], [0.401, 0.409, 0.405, 0.411])
    assert said.kind == "better"
    assert said.sentence.startswith("hrm is better than baseline by 0.0405")
    assert "8.1 % in normalised score" in said.sentence
    assert "4 seeds" in said.sentence


def test_the_worse_arm_is_called_worse_and_its_interval_is_written_as_a_size() -> None:
    said = judge([0.401, 0.409, 0.405, 0.411], [0.441, 0.452, 0.446, 0.449])
    assert said.kind == "worse"
    assert "worse than baseline by 0.0405 (0.0" in said.sentence


def test_where_lower_is_better_the_lower_arm_is_better() -> None:
    perplexity = MetricBounds(floor=100.0, ceiling=20.0, higher_is_better=False)
    said = judge([30.1, 30.4, 30.2, 30.3], [45.0, 45.5, 45.1, 45.2], perplexity)
    assert said.kind == "better"
    assert standing(mean_interval([20.1, 20.2, 20.15]), perplexity) == "at the ceiling"
    assert standing(mean_interval([99.9, 99.8, 99.85]), perplexity) == "at the floor"


def test_one_seed_is_too_few() -> None:
    said = judge([0.46], [0.42])
    assert said.kind == "too few seeds"
    assert "one seed allows no test" in said.sentence


def test_the_published_gain_of_18_7_per_cent_is_too_few_seeds() -> None:
    # Three seeds, 0.108 against 0.091, Welch p = 0.19: published as a result.
    said = judge([0.128, 0.093, 0.103], [0.085, 0.099, 0.089])
    assert said.kind == "too few seeds"
    assert "3 seeds can show a difference of" in said.sentence
    assert "+0.0170" in said.sentence


def test_both_at_the_ceiling_leave_no_room() -> None:
    said = judge([0.4979, 0.4990, 0.4985], [0.4982, 0.4991, 0.4979])
    assert said.kind == "no room"
    assert said.sentence.startswith("No room left below the ceiling")


def test_a_wide_interval_around_the_ceiling_is_not_at_the_ceiling() -> None:
    # Mean 0.50 but seeds from 0.44 to 0.56: noise, not a solved task.
    assert standing(mean_interval([0.44, 0.50, 0.56]), SORTING) == "between"


def test_a_tiny_significant_lead_at_the_ceiling_is_still_no_room() -> None:
    said = judge([0.5000, 0.4981, 0.4990, 0.4995], [0.4990, 0.4970, 0.4981, 0.4984])
    assert said.kind == "no room"
    assert "hrm is ahead by 0.0010" in said.sentence


def test_a_small_interval_around_zero_rules_out_what_matters() -> None:
    said = judge([0.431, 0.425, 0.428, 0.436], [0.430, 0.426, 0.427, 0.435])
    assert said.kind == "no difference"
    assert "a smaller one could be hidden" in said.sentence


def test_not_significant_is_not_no_difference_when_a_large_one_is_possible() -> None:
    # The interval reaches to 8 % in normalised score: a difference that matters is possible though not shown.
    said = judge([0.435, 0.441, 0.450, 0.447], [0.420, 0.412, 0.428, 0.419], p_holm=0.08)
    assert said.kind == "too few seeds"
    assert "possible but not shown" in said.sentence


def test_the_corrected_p_decides() -> None:
    a, b = [0.441, 0.452, 0.446, 0.449], [0.401, 0.409, 0.405, 0.411]
    assert judge(a, b, p_holm=0.04).kind == "better"
    assert judge(a, b, p_holm=0.06).kind == "too few seeds"


def test_exactly_equal_arms_are_suspicious() -> None:
    said = judge([0.43, 0.42, 0.44], [0.43, 0.42, 0.44])
    assert said.kind == "identical"
    assert "really two models" in said.sentence


def test_two_arms_at_the_floor_have_learned_nothing() -> None:
    assert judge([0.002, 0.001, 0.003], [0.001, 0.002, -0.001]).kind == "at the floor"


def test_a_constant_gap_is_not_tested() -> None:
    said = judge([0.31, 0.32, 0.33], [0.30, 0.31, 0.32])
    assert said.kind == "too few seeds"
    assert said.sentence.startswith("No test possible")


def test_no_common_seed_is_no_result() -> None:
    assert judge([float("nan"), 0.4], [0.4, float("nan")]).kind == "no result"


def test_without_floor_and_ceiling_nothing_is_ruled_out() -> None:
    said = judge([0.431, 0.425, 0.428], [0.430, 0.426, 0.427], MetricBounds(None, None))
    assert said.kind == "too few seeds"
    assert "floor" not in said.sentence
    assert standing(mean_interval([0.4, 0.5]), MetricBounds(None, None)) == "unknown"


def test_without_a_ceiling_the_gain_of_the_better_arm_over_the_floor_is_what_counts() -> None:
    nats = MetricBounds(floor=3.36, ceiling=None, higher_is_better=False)
    close = judge([1.850, 1.862, 1.855], [1.853, 1.861, 1.859], nats)
    assert close.kind == "no difference"
    assert "of the better arm's gain over the floor" in close.sentence
    # Two seeds that differ by 0.18 nats within an arm: 0.05 nats between the arms say nothing.
    assert judge([1.45, 1.62], [1.50, 1.49], nats).kind == "too few seeds"
    assert judge([1.90, 1.96, 1.95], [1.86, 1.87, 1.85], nats, p_holm=0.1).kind == "too few seeds"
    assert judge([3.40, 3.41, 3.42], [3.41, 3.40, 3.43], nats).kind == "too few seeds"  # neither left the floor


def of(kind: str, a: str, b: str = "baseline") -> Verdict:
    return Verdict(a, b, kind, "")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verdicts", "line"),
    [
        ([of("better", "hrm")], "hrm is better than baseline"),
        (
            [of("no room", "looped"), of("no room", "hrm"), of("no room", "hrm", "looped")],
            "No room left below the ceiling: baseline, looped and hrm all reach it",
        ),
        ([of("no room", "hrm")], "No room left below the ceiling: baseline and hrm both reach it"),
        ([of("too few seeds", "hrm")], "Too few seeds to say whether hrm differs from baseline"),
        (
            [of("better", "looped"), of("better", "hrm"), of("no difference", "hrm", "looped")],
            "looped and hrm are better than baseline",
        ),
        (
            [of("worse", "looped"), of("no difference", "hrm"), of("better", "hrm", "looped")],
            "looped is worse than baseline; no difference shown between baseline and hrm; hrm is better than looped",
        ),
        ([of("at the floor", "hrm")], "Nothing learned: baseline and hrm stay at the floor"),
        ([], "One arm, nothing to compare it with"),
    ],
)
def test_the_headline_says_it_in_one_line(verdicts: list[Verdict], line: str) -> None:
    assert headline(verdicts, "baseline") == line


def test_holm_over_the_pairs_can_take_a_verdict_back() -> None:
    # p = 0.03 alone is significant; as one of three pairs it is not.
    assert holm([0.03, 0.4, 0.5])[0] == pytest.approx(0.09)
