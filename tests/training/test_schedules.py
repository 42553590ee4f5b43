"""Schedules as functions of the update."""

import math

import pytest

from headwise.training.schedules import Entropy, Temperature, learning_rate_factor, ramped


def test_the_warm_up_starts_at_one_over_its_length_and_reaches_one_at_its_end() -> None:
    factors = [learning_rate_factor(u, 100, 0.1, "constant") for u in range(12)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[:10] == pytest.approx([(u + 1) / 10 for u in range(10)])
    assert factors[9:] == [1.0, 1.0, 1.0]


def test_no_update_of_any_schedule_has_a_rate_of_zero() -> None:
    """A factor of 0 at the first or the last update would waste a batch (and a first validation)."""
    for schedule in ("constant", "cosine", "linear"):
        for warmup in (0.0, 0.05, 0.5, 0.99):
            assert all(learning_rate_factor(u, 40, warmup, schedule) > 0 for u in range(40)), (schedule, warmup)


def test_cosine_and_linear_are_half_way_in_the_middle_of_what_is_left() -> None:
    assert learning_rate_factor(60, 100, 0.2, "cosine") == pytest.approx(0.5)
    assert learning_rate_factor(60, 100, 0.2, "linear") == pytest.approx(0.5)
    assert learning_rate_factor(40, 100, 0.2, "cosine") == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_a_warm_up_shorter_than_half_an_update_is_none() -> None:
    assert learning_rate_factor(0, 10, 0.01, "cosine") == 1.0


def test_the_temperature_falls_by_a_factor_an_epoch_to_its_end() -> None:
    temperature = Temperature(start=2.0, end=0.7, decay=0.95)
    assert temperature.value(0) == 2.0
    assert temperature.value(0.99) == 2.0
    assert temperature.value(1.0) == pytest.approx(1.9)
    assert temperature.value(3.2) == pytest.approx(2 * 0.95**3)
    assert temperature.value(1000) == 0.7


def test_the_entropy_weight_is_halved_every_five_of_fifty_epochs() -> None:
    weights = [Entropy("sharp", 1e-3, 0.1).value(epoch / 50) for epoch in range(50)]
    assert weights == pytest.approx([1e-3 * 0.5 ** (epoch // 5) for epoch in range(50)])


def test_diverse_rewards_entropy_and_none_leaves_it_out() -> None:
    assert Entropy("diverse", 1e-3).value(0) == -1e-3
    assert Entropy("none", 1e-3).value(0) == 0
    assert Entropy("sharp", 1e-3, None).value(1) == 1e-3


def test_a_ramped_weight_rises_in_a_line_and_stays() -> None:
    assert [ramped(0.01, p, 0.2) for p in (0, 0.1, 0.2, 1)] == pytest.approx([0, 0.005, 0.01, 0.01])
    assert ramped(0.01, 0, 0) == 0.01


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Temperature(start=0.5, end=0.7), r"end=0\.7 and start=0\.5; choose 0 < end <= start"),
        (lambda: Temperature(decay=1.1), r"decay=1\.1; choose 0 < decay <= 1"),
        (lambda: Entropy(weight=-1), "weight=-1; choose 0 or more"),
        (lambda: Entropy(halve_every=0), "halve_every=0; choose a share of the run"),
    ],
)
def test_values_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
