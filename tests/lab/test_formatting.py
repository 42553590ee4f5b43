"""How numbers are written."""

import math

import pytest

from headwise.lab.formatting import (
    MINUS,
    format_confidence,
    format_count,
    format_decimal,
    format_difference,
    format_duration,
    format_interval_of_difference,
    format_magnitude,
    format_metric,
    format_normalised,
    format_p,
    format_percent,
    format_quantity,
    format_short,
    join_words,
)


@pytest.mark.parametrize(
    ("x", "text"), [(0.49871, "0.4987"), (-0.00004, "0.0000"), (-0.0123, "−0.0123"), (31.4159, "31.42"), (None, "–")]
)
def test_a_metric_has_four_decimals_and_no_negative_zero(x: float | None, text: str) -> None:
    assert format_metric(x) == text


def test_what_is_not_finite_is_a_dash() -> None:
    assert format_metric(math.nan) == format_magnitude(math.inf) == format_decimal(math.nan, 2) == "–"


def test_signs_are_written_when_asked_for() -> None:
    assert format_metric(0.012, signed=True) == "+0.0120"
    assert format_interval_of_difference((-0.01, 0.02)) == "−0.0100 to +0.0200"


@pytest.mark.parametrize(("share", "text"), [(0.0084, "0.84 %"), (0.084, "8.4 %"), (0.05, "5 %"), (0.837, "84 %")])
def test_per_cent_has_two_digits(share: float, text: str) -> None:
    assert format_percent(share) == text


def test_a_normalised_score_keeps_a_decimal_near_the_ceiling() -> None:
    assert format_normalised(0.9974) == "99.7 %"
    assert format_normalised(-0.0001) == "0.0 %"


@pytest.mark.parametrize(("x", "text"), [(8069120, "8.07 M"), (999.9, "1.00 k"), (12, "12.0"), (2.5e9, "2.50 G")])
def test_magnitudes_have_three_digits_and_a_prefix(x: float, text: str) -> None:
    assert format_magnitude(x) == text


def test_small_p_values_are_bounds() -> None:
    assert [format_p(p) for p in (0.00001, 0.0123, 0.42, None)] == ["< 0.001", "0.012", "0.42", "–"]


def test_counts_and_lists_read_as_prose() -> None:
    assert format_count(266376) == "266\N{NARROW NO-BREAK SPACE}376"
    assert [format_quantity(n, "seed") for n in (1, 3)] == ["1 seed", "3 seeds"]
    assert join_words(["a", "b", "c"]) == "a, b and c"
    assert [format_duration(s) for s in (4.2, 300, 9000)] == ["4.20 s", "5.0 min", "2.5 h"]
    assert [format_short(x) for x in (2.0, 0.256)] == ["2", "0.26"]


def test_a_small_difference_keeps_two_digits() -> None:
    assert format_difference(0.00052) == "0.00052"
    assert format_difference(-0.000012, signed=True) == f"{MINUS}0.000012"
    assert format_difference(0.0031, signed=True) == "+0.0031"
    assert format_difference(0.0) == "0.0000"
    assert format_interval_of_difference((-0.0004, 0.01)) == f"{MINUS}0.00040 to +0.0100"


def test_a_confidence_near_1_keeps_the_digits_that_tell_it_from_1() -> None:
    assert [format_confidence(c) for c in (0.95, 1 - 0.05 / 3, 0.9997, 0.999999)] == [
        "95 %",
        "98.3 %",
        "99.97 %",
        "99.9999 %",
    ]
