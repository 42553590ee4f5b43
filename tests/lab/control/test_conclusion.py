"""What a control says: of the router only what the controls do not have, and how large a difference was in reach."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from headwise.lab.control.conclusion import Evidence, conclude, curve_sentence
from headwise.models.arm import Arm
from headwise.schema import build, to_plain
from tests.lab.control.conftest import HIGH, LOW, SCORES

Headline = Callable[..., tuple[str, str]]
SAME = [0.199, 0.205, 0.197]
WIDE = [0.10, 0.30, 0.19]


def test_a_lab_that_sees_routing_says_by_how_much_and_what_the_oracle_reaches(headline: Headline) -> None:
    outcome, said = headline([], **SCORES)
    assert outcome == "matters"
    pattern = (
        r"This lab sees routing: gated is \+20\.1 points ahead of looped on walk "
        r"\([\d.]+ % interval \+1\d\.\d to \+2\d\.\d, p (= 0\.0\d+|< 0\.001)\); "
        r"with the right heads opened for it \(oracle\) 50\.0 %\."
    )
    assert re.fullmatch(pattern, said), said


@pytest.mark.parametrize(
    ("scores", "outcome", "parts"),
    [
        ({"gated": HIGH, "random": SAME}, "matters", ["Routing matters here: gated is +20.1 points ahead of looped"]),
        (
            {"gated": HIGH, "hrm": HIGH, "random": SAME},
            "matters",
            ["gated is +20.1 points", "and so is hrm (+20.1)"],
        ),
        (
            {"gated": HIGH, "random": [0.402, 0.398, 0.405]},
            "does not matter",
            ["Routing does not matter here", "but so is random (+20.1 points), without choosing", "not credited"],
        ),
        (
            {"gated": HIGH, "random": [0.20, 0.35, 0.30]},
            "too few seeds",
            ["Too few seeds to say: gated is +20.1 points", "not shown to be ahead of random, which chooses nothing"],
        ),
        (
            {"gated": SAME, "hrm": LOW[::-1]},
            "does not matter",
            [
                "no routed arm is shown to differ from looped; a difference of",
                "would have been seen (power 0.8, 3 seeds)",
            ],
        ),
        (
            {"gated": [0.100, 0.104, 0.099]},
            "does not matter",
            ["no routed arm is ahead of looped, and gated (−10.0 points) behind it"],
        ),
        ({"gated": WIDE}, "too few seeds", ["Too few seeds to say", "would have been seen, no smaller one (power 0.8"]),
        ({"gated": SAME, "hrm": WIDE}, "too few seeds", ["Too few seeds to say: no routed arm is shown to differ"]),
    ],
)
def test_a_gain_is_the_routers_only_where_no_control_shares_it(
    headline: Headline, scores: dict[str, Sequence[float]], outcome: str, parts: list[str]
) -> None:
    found, said = headline(looped=LOW, **scores)
    assert found == outcome, said
    for part in parts:
        assert part in said
    assert said.endswith(".")


@pytest.mark.parametrize(
    ("kind", "outcome", "said"),
    [
        (
            "at the floor",
            "nothing learned",
            "Nothing was learned here: neither looped nor gated rises above the floor.",
        ),
        (
            "no room",
            "does not matter",
            "Routing does not matter here: looped reaches the ceiling without a router; a difference of 5.0 points "
            "would have been seen (power 0.8, 3 seeds).",
        ),
        (
            "equivalent",
            "does not matter",
            "Routing does not matter here: no routed arm is shown to differ from looped; a difference of 5.0 points "
            "would have been seen (power 0.8, 3 seeds).",
        ),
    ],
)
def test_at_the_floor_nothing_is_said_of_routing_and_at_the_ceiling_there_is_no_room(
    kind: str, outcome: str, said: str
) -> None:
    content = comparison(higher=True)
    content["pairs"][0]["kind"] = kind
    found = conclude(content, known=False)
    assert (found.outcome, found.sentence) == (outcome, said)


def test_where_routing_is_known_to_help_and_is_not_seen_the_lab_is_at_fault(headline: Headline) -> None:
    outcome, said = headline([], looped=LOW, gated=SAME)
    assert outcome == "does not matter"
    assert said.startswith("This lab does not see routing where it is known to help: no routed arm is shown to differ")


@pytest.mark.parametrize("words", [[], ["task=walk"]])
def test_with_too_few_seeds_for_a_test_there_is_no_verdict(headline: Headline, words: list[str]) -> None:
    assert headline(words, 2, looped=LOW, gated=HIGH) == (
        "no verdict",
        "No verdict: a test takes 3 seeds with a result, here are 2.",
    )


def test_a_quick_try_allows_no_verdict(headline: Headline) -> None:
    outcome, said = headline(["quick=true"], looped=LOW, gated=HIGH)
    assert (outcome, "no verdict" in said) == ("no verdict", True)


def comparison(higher: bool) -> dict[str, Any]:
    """Two arms of a metric without limits, the routed one better by 0.2."""
    sign = 1 if higher else -1
    pair = {"a": "gated", "b": "looped", "kind": "better", "difference": 0.2 * sign, "p_paired": 0.01, "p_holm": None}
    pair |= {"interval": sorted([0.1 * sign, 0.3 * sign]), "n": 3, "smallest_detectable": 0.05}
    routed = to_plain(build(Arm, {"router": {"name": "learned"}}, "arm"))
    arms = {"looped": {"arm": to_plain(Arm()), "mean": 1.0}, "gated": {"arm": routed, "mean": 1.0 + 0.2 * sign}}
    limits = [0.0, 1.0] if higher else [0.0, None]
    return {"task": "x", "arms": arms, "pairs": [pair], "higher_is_better": higher, "metric_range": limits}


@pytest.mark.parametrize(("higher", "ahead"), [(True, "+20.0 points"), (False, "+0.2000")])
def test_ahead_means_better_in_either_direction_of_the_metric(higher: bool, ahead: str) -> None:
    found = Evidence(comparison(higher))
    assert found.ahead("gated", "looped") == pytest.approx(0.2)
    assert found.ahead("looped", "gated") == pytest.approx(-0.2)
    assert found.interval("gated", "looped") == pytest.approx((0.1, 0.3))
    assert found.interval("looped", "gated") == pytest.approx((-0.3, -0.1))
    assert (found.kind("gated", "looped"), found.kind("looped", "gated")) == ("better", "worse")
    assert found.amount(found.ahead("gated", "looped")) == ahead


def point(ffn: int, difference: float | None, kind: str) -> dict[str, Any]:
    return {"ffn": ffn, "pair": {"a": "gated", "b": "looped", "difference": difference, "kind": kind}}


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([], None),
        ([point(0, None, "no result")], None),
        (
            [point(0, 0.5, "better"), point(8, 0.3, "better")],
            "By FFN width gated is ahead of looped by +50.0 points at 0 and +30.0 points at 8: no FFN of these widths "
            "does the router's job.",
        ),
        (
            [point(0, 0.5, "better"), point(96, 0.001, "no difference")],
            "By FFN width gated is ahead of looped by +50.0 points at 0 and +0.1 points at 96: from 96 on no lead is "
            "shown, the FFN does the router's job.",
        ),
        (
            [point(0, 0.5, "better"), point(96, 0.1, "too few seeds")],
            "By FFN width gated is ahead of looped by +50.0 points at 0 and +10.0 points at 96: from 96 on no lead is "
            "shown.",
        ),
        (
            [point(0, 0.0, "no difference"), point(8, 0.3, "better")],
            "By FFN width gated is ahead of looped by +0.0 points at 0 and +30.0 points at 8.",
        ),
    ],
)
def test_the_curve_says_where_the_ffn_does_the_routers_job(points: list[dict[str, Any]], said: str | None) -> None:
    assert curve_sentence(Evidence(comparison(higher=True)), points) == said
