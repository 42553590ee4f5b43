"""`headwise plan`: the table against formulas, its recommendation, and what it refuses."""

import math
from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError
from headwise.lab.comparison.resolution import Variances, forecast, hours_per_seed
from headwise.lab.mixed import Components
from headwise.lab.power import detectable_effect
from headwise.lab.records import read_comparison
from headwise.lab.report.forecast_table import forecast_text, recommendation
from tests.lab.conftest import FakeTrain, run_comparison


def result_with(seed: float, example: float, interaction: float, seeds: int = 4, examples: int = 100) -> dict[str, Any]:
    """As much of comparison.json as a plan reads; a pair with these variances."""
    scatter, shared = Components(seed, example, interaction).variance(seeds, examples)
    estimate = {
        "mean": 0.0, "seeds": seeds, "examples": examples, "scatter": scatter, "shared": shared,
        "shared_df": examples - 1.0, "examples_per_seed": float(examples),
        "components": {"seed": seed, "example": example, "interaction": interaction},
    }  # fmt: skip
    return {
        "directory": "runs/one",
        "metric": "rank_tau",
        "seeds": list(range(seeds)),
        "arms": {"a": {"train_seconds": 1800.0}, "b": {"train_seconds": 5400.0}},
        "how": {"processes": 2},
        "pairs": [{"a": "b", "b": "a", "estimate": estimate}],
    }


def test_where_only_seeds_vary_the_table_is_that_of_the_paired_t_test() -> None:
    plan = forecast(result_with(seed=0.04, example=0.0, interaction=0.0), effect=0.1)
    for cell in plan["table"]:
        effect = detectable_effect(cell["seeds"])
        assert effect is not None
        assert cell["can_show"] == pytest.approx(0.2 * effect)
    # G*Power: a paired difference of half a standard deviation, power 0.8, takes 34 pairs.
    assert plan["recommended"]["seeds"] == 34
    assert plan["recommended"]["examples"] == 100
    assert plan["recommended"]["hours"] == pytest.approx(34.0)  # two runs side by side, 2 hours together
    assert plan["recommended"]["seeds_low"] < 34 < plan["recommended"]["seeds_high"]


def test_where_the_test_set_is_the_limit_more_examples_are_recommended() -> None:
    # Examples alone vary: standard error 0.1 with 100 of them, whatever the seeds; 2.8 of these can be shown.
    plan = forecast(result_with(seed=1e-8, example=1.0, interaction=1e-8), effect=0.15)
    assert plan["recommended"]["examples"] == 400
    assert plan["recommended"]["seeds"] == 3
    assert forecast(result_with(1e-8, 1.0, 1e-8), effect=0.01)["recommended"] is None
    assert "seeds on 10 times the test examples would show a difference of 0.0100" in recommendation(
        forecast(result_with(1e-8, 1.0, 1e-8), effect=0.01)
    )


def test_ruling_out_takes_a_little_more_than_showing() -> None:
    cell = Variances(Components(0.0, 1.0, 0.0), 0.05).cell(10, 10**6, 1.0)
    assert cell.can_show == pytest.approx((1.960 + 0.842) / 1000, rel=1e-3)
    assert cell.can_rule_out == pytest.approx((1.645 + 1.282) / 1000, rel=1e-3)


def test_more_of_either_never_shows_less(tmp_path: Path, fake_train: FakeTrain) -> None:
    run_comparison(tmp_path, fake_train)
    plan = forecast(read_comparison(tmp_path), effect=0.001)
    cells = {(cell["seeds"], cell["examples"]): cell for cell in plan["table"]}
    assert all(math.isfinite(cell["can_show"]) for cell in cells.values())
    for (seeds, examples), cell in cells.items():
        for other in ((seeds + 1, examples), (seeds, 2 * examples)):
            assert other not in cells or cells[other]["can_show"] <= cell["can_show"]
    assert set(plan["variances"]) == {"looped - baseline", "hrm - baseline", "hrm - looped"}
    assert plan["level"] == pytest.approx(0.05 / 3)
    assert forecast_text(plan)


def test_hours_are_those_of_the_arms_side_by_side() -> None:
    result = result_with(0.1, 0.1, 0.1)
    assert hours_per_seed(result) == pytest.approx(1.0)
    result["how"]["processes"] = 1
    assert hours_per_seed(result) == pytest.approx(2.0)


@pytest.mark.parametrize("effect", [0.0, -0.01])
def test_an_effect_that_is_none_is_refused(effect: float) -> None:
    with pytest.raises(InputError, match="effect="):
        forecast(result_with(0.1, 0.1, 0.1), effect)


def test_a_variance_below_0_is_damage() -> None:
    damaged = result_with(0.1, 0.1, 0.1)
    damaged["pairs"][0]["estimate"]["scatter"] = -1.0
    with pytest.raises(InputError, match=r"runs/one: comparison\.json is damaged: a variance below 0"):
        forecast(damaged, 0.1)


def test_one_seed_or_one_arm_gives_no_variance(tmp_path: Path, fake_train: FakeTrain) -> None:
    run_comparison(tmp_path / "seed", fake_train, ("baseline", "hrm"), seeds=1)
    with pytest.raises(InputError, match=r"one seed, which says nothing of the next; .* seeds=3"):
        forecast(read_comparison(tmp_path / "seed"), 0.01)
    run_comparison(tmp_path / "arm", fake_train, ("baseline",))
    with pytest.raises(InputError, match="one arm; variances of differences need two"):
        forecast(read_comparison(tmp_path / "arm"), 0.01)
    with pytest.raises(InputError, match=r"no comparison\.json in it"):
        read_comparison(tmp_path)
