"""Rules judge by intervals: all of it on one side of what is claimed, or undecided."""

from typing import Any

import pytest

from headwise.errors import InputError
from headwise.lab.claims.rules import Difference, Growth, Judged, KeepsLaws, Measure, together


def comparison(low: float | None, high: float | None, higher: bool = True, swapped: bool = False) -> dict[str, Any]:
    """A comparison of `new` with `old`, which reaches 0.5; the interval is of what its pair says, `a` minus `b`."""
    a, b = ("old", "new") if swapped else ("new", "old")
    interval = None if low is None else [low, high]
    return {
        "arms": {"old": {"mean": 0.5, "heads": 4}, "new": {"mean": 0.6, "heads": 3}},
        "pairs": [{"a": a, "b": b, "interval": interval, "confidence": 0.95}],
        "higher_is_better": higher,
    }


@pytest.mark.parametrize(
    ("interval", "outcome"),
    [
        ((0.1, 0.2), "holds"),
        ((0.08, 0.2), "undecided"),
        ((-0.1, 0.09), "does not hold"),
        ((-0.3, -0.2), "does not hold"),
    ],
)
def test_a_difference_is_judged_by_its_whole_interval(interval: tuple[float, float], outcome: str) -> None:
    low, high = interval
    asked = Difference("main", "new", "old", at_least=0.1)
    assert asked.judge({"main": comparison(low, high)}).outcome == outcome
    # The same seen from the other side, and of a metric of which less is better
    assert asked.judge({"main": comparison(-high, -low, swapped=True)}).outcome == outcome
    assert asked.judge({"main": comparison(-high, -low, higher=False)}).outcome == outcome
    assert asked.judge({"main": {"comparison": comparison(low, high)}}).outcome == outcome  # as a control returns it


def test_a_share_is_of_what_the_other_arm_reaches() -> None:
    asked = Difference("main", "new", "old", at_least=0.2, relative=True)  # 0.1 of 0.5
    assert asked.judge({"main": comparison(0.1, 0.2)}).outcome == "holds"
    assert asked.judge({"main": comparison(0.05, 0.2)}).outcome == "undecided"
    assert "20.0% of 0.5000 = 0.1000" in asked.judge({"main": comparison(0.1, 0.2)}).evidence


def test_too_few_seeds_decide_nothing() -> None:
    found = Difference("main", "new", "old", at_least=0.1).judge({"main": comparison(None, None)})
    assert found == Judged("undecided", "new against old: too few seeds for an interval")
    assert Growth(("main", "main"), "new", "old").judge({"main": comparison(None, None)}).outcome == "undecided"


def test_a_lead_grows_where_the_difference_of_the_leads_leaves_out_nothing() -> None:
    small, same, large = comparison(0.0, 0.06), comparison(0.01, 0.09), comparison(0.2, 0.28)
    grows = Growth(("first", "last"), "new", "old")
    assert grows.judge({"first": small, "last": large}).outcome == "holds"  # 0.03 to 0.24, half widths 0.03 and 0.04
    assert grows.judge({"first": large, "last": small}).outcome == "does not hold"
    # 0.02 with a half width of hypot(0.03, 0.04) = 0.05
    found = grows.judge({"first": small, "last": same})
    assert found.outcome == "undecided"
    assert "0.0200 (95 % interval −0.0300 to 0.0700)" in found.evidence


def test_a_number_is_found_by_keys_and_by_names_of_rows() -> None:
    bench = [{"name": "reuse", "ratio": 1.9}, {"name": "other", "ratio": 1.0}]
    assert Measure("bench", ("reuse", "ratio"), at_least=1.8).judge({"bench": bench}).outcome == "holds"
    assert Measure("bench", ("reuse", "ratio"), at_least=2).judge({"bench": bench}).outcome == "does not hold"
    assert Measure("bench", ("reuse", "ratio"), at_most=1.9).judge({"bench": bench}).outcome == "holds"
    assert Measure("one", ("values", "1"), at_least=2).judge({"one": {"values": [1, 2]}}).outcome == "holds"
    share = Measure("main", ("arms", "new", "heads"), ("arms", "old", "heads"), at_most=0.8)
    assert share.judge({"main": comparison(0, 1)}).outcome == "holds"
    assert "arms, new, heads over arms, old, heads: 0.75; asked for: at most 0.8" in (
        share.judge({"main": comparison(0, 1)}).evidence
    )
    assert Measure("one", ("x",), at_least=0).judge({"one": {"x": None}}).outcome == "undecided"


def test_a_part_that_breaks_a_law_does_not_hold_and_says_which() -> None:
    found = {"laws": {"gate function mine": ["a larger score has a smaller gate"], "gate function other": []}}
    broken = KeepsLaws("laws", "gate function mine").judge(found)
    assert broken == Judged("does not hold", "gate function mine: a larger score has a smaller gate")
    assert KeepsLaws("laws", "gate function other").judge(found).outcome == "holds"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Difference("main", "newer", "old", 0.1), "command main: no arm newer; there are old, new"),
        (Difference("bench", "new", "old", 0.1), "command bench: its result is no comparison"),
        (Measure("bench", ("reuse", "value"), at_least=1), "command bench: its result has no reuse.value"),
        (Measure("bench", ("reuse", "ratio", "x"), at_least=1), "command bench: its result has no reuse.ratio.x"),
        (KeepsLaws("main", "gate function mine"), "command main: its result has no gate function mine"),
    ],
)
def test_what_a_rule_looks_for_and_does_not_find_is_named(rule: Any, message: str) -> None:
    results = {"main": comparison(0, 1), "bench": [{"name": "reuse", "ratio": 1.0}]}
    with pytest.raises(InputError, match=message):
        rule.judge(results)


def test_a_bound_is_needed() -> None:
    with pytest.raises(ValueError, match="at_least and at_most are both missing"):
        Measure("bench", ("x",))
    with pytest.raises(ValueError, match="name two comparisons or more"):
        Growth(("main",), "new", "old")


def test_one_rule_that_does_not_hold_decides_and_an_open_one_leaves_it_open() -> None:
    holds, fails, undecided = (Judged(outcome, "") for outcome in ("holds", "does not hold", "undecided"))  # type: ignore[arg-type]
    assert together([holds, holds]) == "holds"
    assert together([holds, undecided]) == "undecided"
    assert together([undecided, fails, holds]) == "does not hold"
