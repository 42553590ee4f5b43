"""What may be said: every kind of verdict on made-up seeds whose right answer is plain."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from headwise.lab.comparison.automatic import DECIDED
from headwise.lab.comparison.headlines import QUICK, control_for, headline
from headwise.lab.comparison.results import corrected
from headwise.lab.comparison.rules import Rule
from headwise.lab.comparison.verdicts import MetricBounds, Verdict, standing, verdict
from headwise.lab.families import holm
from headwise.lab.statistics import Mean, compare_pair, mean_interval
from tests.lab.conftest import arm

SORTING = MetricBounds(floor=0.0, ceiling=0.5014)


def judge(
    a: Sequence[float],
    b: Sequence[float],
    scale: MetricBounds = SORTING,
    p_holm: float | None = None,
    quick: bool = False,
) -> Verdict:
    pair = replace(compare_pair("hrm", "baseline", (a, b)), p_holm=p_holm)
    return verdict(pair, (mean_interval(a), mean_interval(b)), scale, quick)


def test_a_clear_gain_is_better_with_its_size_and_share() -> None:
    said = judge([0.441, 0.452, 0.446, 0.449], [0.401, 0.409, 0.405, 0.411])
    assert said.kind == "better"
    assert said.sentence.startswith("hrm is better than baseline by 0.0405")
    assert "8.1 % in normalised score" in said.sentence
    assert "with 95 % confidence, 8.1 %" in said.sentence
    assert "paired over 4 seeds" in said.sentence


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
    assert "3 are the fewest that allow a test, here is 1" in said.sentence


def test_two_seeds_whose_differences_happen_to_be_nearly_equal_are_too_few() -> None:
    # Differences of 0.0480 and 0.0499: a t test calls them p = 0.012, and two solved arms leave "no room".
    assert judge([0.4120, 0.4139], [0.3640, 0.3640]).kind == "too few seeds"
    assert judge([0.5010, 0.5011], [0.5012, 0.5010]).kind == "too few seeds"
    assert judge([0.001, 0.002], [0.002, 0.001]).kind == "too few seeds"
    assert standing(mean_interval([0.5010, 0.5011]), SORTING) == "unknown"


def test_a_quick_try_gives_no_verdict_whatever_its_numbers() -> None:
    said = judge([0.441, 0.452, 0.446, 0.449], [0.401, 0.409, 0.405, 0.411], quick=True)
    assert said.kind == "no verdict"
    assert said.sentence == "A quick try allows no verdict (hrm minus baseline is +0.0405)."


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
    assert judge([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]).kind == "at the floor"  # alike because none learned


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


def test_two_arms_that_are_both_at_the_ceiling_on_every_seed_leave_no_room() -> None:
    for value, kind in ((1.0, "no room"), (0.99, "identical")):
        pair, mean = compare_pair("hrm", "looped", ([value] * 3, [value] * 3)), mean_interval([value] * 3)
        said = verdict(pair, (mean, mean), MetricBounds(0.0, 1.0))
        assert said.kind == kind
        assert ("reach it on every seed" in said.sentence) == (kind == "no room")
    # Where a smallest difference of interest was given it is decided, and seeds=auto ends
    pair = replace(compare_pair("hrm", "looped", ([1.0] * 3, [1.0] * 3)), effect=0.01)
    decided = verdict(pair, (mean_interval([1.0] * 3),) * 2, MetricBounds(0.0, 1.0))
    assert (decided.kind, decided.sentence) == (
        "identical",
        "No difference: hrm and looped reach the ceiling on every seed.",
    )
    assert decided.kind in DECIDED


def of(kind: str, a: str, b: str = "baseline") -> Verdict:
    return Verdict(a, b, kind, "")  # type: ignore[arg-type]


MEANS = {"baseline": 0.40, "looped": 0.49, "hrm": 0.48, "linear": 0.41}


def line(verdicts: list[Verdict], **means: float) -> str:
    """The headline of arms with these means (default `MEANS`); `looped` is a control."""
    names = dict.fromkeys(["baseline", *(name for v in verdicts for name in (v.a, v.b))])
    controls = {name: control_for(arm(name)) for name in names}
    return headline(verdicts, {name: Mean((MEANS | means)[name], None, 3) for name in names}, controls, True)


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([of("worse", "hrm")], "Best is hrm with 0.4800; hrm is worse than baseline"),
        ([of("better", "looped")], "Best is looped with 0.4900; looped is better than baseline"),
        (
            [of("no room", "looped"), of("no room", "hrm"), of("no room", "hrm", "looped")],
            "No room left below the ceiling: baseline, looped and hrm all reach it",
        ),
        ([of("no room", "hrm")], "No room left below the ceiling: baseline and hrm both reach it"),
        ([of("too few seeds", "hrm")], "Too few seeds to say whether hrm differs from baseline"),
        (
            [of("worse", "looped"), of("no difference", "hrm"), of("better", "hrm", "looped")],
            "Best is looped with 0.4900; looped is worse than baseline; no difference shown between baseline and hrm; "
            "hrm is better than looped",
        ),
        (
            [of("worse", name) for name in ("looped", "linear", "hrm")]
            + [of("worse", "linear", "looped"), of("better", "looped", "hrm"), of("worse", "hrm", "linear")]
            + [of("worse", "linear", "hrm")],
            "Best is looped with 0.4900; looped, linear and hrm are worse than baseline; looped is better than linear "
            "and hrm, too; 2 more pairs differ",
        ),
        ([of("at the floor", "hrm")], "Nothing learned: baseline and hrm stay at the floor"),
        ([of("no verdict", "hrm"), of("no verdict", "looped")], QUICK),
        ([], "One arm, nothing to compare it with"),
    ],
)
def test_the_headline_says_it_in_one_line(verdicts: list[Verdict], expected: str) -> None:
    assert line(verdicts) == expected


def test_a_gain_that_the_control_shares_is_credited_to_the_loop() -> None:
    both = [of("better", "looped"), of("better", "hrm"), of("no difference", "hrm", "looped")]
    assert line(both) == (
        "Best is looped with 0.4900; looped and hrm are better than baseline; the control looped reaches 0.4900: the "
        "gain of hrm is credited to the loop"
    )
    # Even where the control's own lead over the baseline is not significant, as long as it stands ahead.
    ahead = [of("too few seeds", "looped"), of("better", "hrm"), of("too few seeds", "hrm", "looped")]
    assert line(ahead).startswith("Best is looped with 0.4900; hrm is better than baseline")
    assert line(ahead).endswith("the gain of hrm is credited to the loop")


def test_a_router_is_credited_only_where_it_beats_the_control() -> None:
    verdicts = [of("better", "looped"), of("better", "hrm"), of("better", "hrm", "looped")]
    assert line(verdicts, hrm=0.5).endswith("the control looped reaches 0.4900, and hrm is better than that")
    unclear = [of("no difference", "looped"), of("better", "hrm"), of("too few seeds", "hrm", "looped")]
    assert line(unclear, looped=0.42).endswith("looped reaches 0.4200: hrm is not shown to be better than that")
    turned = [of("better", "hrm"), of("better", "looped"), of("worse", "looped", "hrm")]
    assert line(turned, hrm=0.5).endswith("and hrm is better than that")


def test_without_a_control_the_headline_says_that_one_is_missing() -> None:
    assert "no control among the arms (looped, static, random_k)" in line([of("better", "hrm")])
    # The first arm may be the control itself.
    arms = {"looped": control_for(arm("looped")), "hrm": None}
    means = {"looped": Mean(0.4, None, 3), "hrm": Mean(0.48, None, 3)}
    said = headline([of("better", "hrm", "looped")], means, arms, True)
    assert said == "Best is hrm with 0.4800; hrm is better than looped"


def test_arms_that_choose_nothing_are_controls() -> None:
    assert control_for(arm("baseline")) is None
    assert control_for(arm("hrm")) is None
    assert control_for(arm("linear")) is None
    assert control_for(arm("looped")) == "the loop"
    assert control_for(arm("baseline", router={"name": "static", "k": 2})) == "a fixed choice of heads"
    assert control_for(arm("baseline", router={"name": "random"})) == "a random choice of heads"


def test_holm_over_the_pairs_can_take_a_verdict_back() -> None:
    # p = 0.03 alone is significant; as one of three pairs it is not.
    assert holm([0.03, 0.4, 0.5])[0] == pytest.approx(0.09)


def family(*values: tuple[Sequence[float], Sequence[float]], effect: float | None = None) -> list[Verdict]:
    pairs = [compare_pair(f"arm{n}", "baseline", own) for n, own in enumerate(values)]
    means = [(mean_interval(a), mean_interval(b)) for a, b in values]
    judged = corrected(pairs, (-1.0, 1.0), Rule(effect))
    for pair in judged:  # never one thing in the interval and another in the verdict
        assert pair.interval is not None
        assert pair.p_holm is not None
        assert (pair.p_holm < 0.05) == (not pair.interval[0] <= 0 <= pair.interval[1])
    return [verdict(pair, own, SORTING) for pair, own in zip(judged, means, strict=True)]


BASE = [0.401, 0.409, 0.405, 0.411]
CLEAR, SLIGHT, SAME = [0.441, 0.452, 0.446, 0.449], [0.404, 0.411, 0.409, 0.413], [0.4012, 0.4087, 0.4051, 0.4109]


def test_interval_and_verdict_never_contradict_each_other() -> None:
    # Alone the slight lead is significant (p = 0.010), beside a clear one, too; as the first of six it meets 0.0083.
    assert [one.kind for one in family((SLIGHT, BASE))] == ["better"]
    assert [one.kind for one in family((CLEAR, BASE), (SLIGHT, BASE))] == ["better", "better"]
    noisy = ([0.40, 0.45, 0.38, 0.42], BASE)
    kinds = [one.kind for one in family((SLIGHT, BASE), *[noisy] * 5)]
    assert kinds == ["no difference", *["too few seeds"] * 5]


def test_with_an_effect_arms_are_better_worse_equivalent_or_undecided() -> None:
    undecided = ([0.40, 0.45, 0.38, 0.42], BASE)
    said = family((CLEAR, BASE), (BASE, CLEAR), (SAME, BASE), undecided, effect=0.005)
    assert [one.kind for one in said] == ["better", "worse", "equivalent", "too few seeds"]
    assert said[2].sentence.startswith("arm2 and baseline are equivalent: a difference of 0.0050 or more is ruled out")
    assert "neither 0 nor 0.0050 is ruled out" in said[3].sentence


def test_a_difference_that_is_shown_but_too_small_to_matter_is_both() -> None:
    (said,) = family((SLIGHT, BASE), effect=0.02)
    assert said.kind == "equivalent"
    assert "arm0 is ahead by 0.0027 (paired over 4 seeds, p = " in said.sentence
    assert line([of("equivalent", "hrm")]) == "Baseline and hrm are equivalent"
    assert line([of("equivalent", "hrm"), of("equivalent", "linear")]).startswith("hrm and linear are each equivalent")
