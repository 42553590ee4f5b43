"""The end of `headwise train` in a terminal: ten rows, each name once."""

from typing import Any

import pytest

from headwise.commands.train import rows

SUMMARY: dict[str, Any] = {
    "task": "sorting",
    "arm": "hrm",
    "seed": 0,
    "metric": "rank_tau",
    "value": 0.4986,
    "floor": 0.0009,
    "ceiling": None,
    "metrics": {"rank_tau": 0.4986},
    "task_loss": 1.2345,
    "selected_update": 90,
    "updates": 120,
    "parameters": 70000,
    "flops_per_example": 8.07e6,
    "train_seconds": 12.0,
    "samples_per_second": 640.0,
}


def test_ten_rows_that_matter() -> None:
    shown = rows(SUMMARY)
    assert len(shown) == 10
    assert (shown["test rank tau"], shown["task loss"], shown["ceiling"]) == ("0.4986", "1.2345", "–")
    assert shown["best update"] == "90 of 120"


@pytest.mark.parametrize("metric", ["loss", "las"])
def test_one_number_at_most_is_called_loss(metric: str) -> None:
    shown = rows(SUMMARY | {"metric": metric})
    assert sum("loss" in name for name in shown) == 1
