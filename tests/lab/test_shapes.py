"""What stands in files is checked key by key; what is wrong is said in words a reader finds it by."""

import pytest

from headwise.lab import shapes
from headwise.lab.matching import NUMBER, dangling, fitting, mismatch


@pytest.mark.parametrize(
    ("value", "shape", "said"),
    [
        (3, NUMBER, None),
        (3.5, NUMBER, None),
        (True, NUMBER, "it is true or false, expected a number"),
        (10**400, NUMBER, "it is a whole number, expected a number"),
        (None, (NUMBER, None), None),
        ("a", (NUMBER, None), "it is a word, expected a number"),
        ([1, "a"], [NUMBER], "[1] is a word, expected a number"),
        ({"a": {"b": [1, None]}}, {"a": {str: [NUMBER]}}, "a.b[1] is null, expected a number"),
        ({"a": 1}, {"a": int, "b?": str}, None),
        ({"a": 1, "b": 2}, {"a": int, "b?": str}, "b is a whole number, expected a word"),
        ({"b": ""}, {"a": int, "b?": str}, "a is missing"),
        ([], {"a": int}, "it is a list, expected keys and values"),
        ({"x" * 100: 1}, {str: str}, f"{'x' * 37}... is a whole number, expected a word"),
    ],
)
def test_a_value_has_its_shape_or_it_is_said_where_not(value: object, shape: object, said: str | None) -> None:
    assert mismatch(value, shape) == said


def test_what_fits_is_kept_and_the_rest_is_said() -> None:
    kept, wrong = fitting({"value": 0.5, "metrics": [], "other": "x"}, shapes.SUMMARY)
    assert kept == {"value": 0.5, "other": "x"}
    assert wrong == ["metrics is a list, expected keys and values"]


def test_a_pair_of_an_arm_that_there_is_not_and_a_size_without_arms_are_seen() -> None:
    pair = {"a": "hrm", "b": "baseline"}
    assert dangling({"arms": {"baseline": {}, "hrm": {}}, "pairs": [pair]}) is None
    assert dangling({"arms": {"baseline": {}}, "pairs": [pair]}) == "pairs[0].a is no arm"
    assert dangling({"arms": {}, "pairs": []}) == "no arms"
    assert dangling({"sizes": {}}) == "no arms"
    one = {"arms": {"baseline": {}, "hrm": {}}, "pairs": [pair]}
    advantage = {"loss": {"hrm": {"best_size": "tiny", "by_size": {"tiny": {}}}}}
    assert dangling({"sizes": {"tiny": one}, "advantage": advantage}) is None
    assert dangling({"sizes": {"small": one}, "advantage": advantage}) == (
        "advantage.loss.hrm is of a size that there is not"
    )
