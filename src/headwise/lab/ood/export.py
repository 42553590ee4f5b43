"""One row for each axis, point, arm and seed, as CSV, for those who want to do their own statistics."""

from collections.abc import Mapping
from typing import Any

from headwise.lab.comparison.results import csv_text

COLUMNS = ("task", "metric", "axis", "value", "arm", "seed", "score", "floor", "ceiling", "normalised", "kept", "quick")


def table(result: Mapping[str, Any]) -> str:
    """The points of ood.json; `normalised` and `kept` are those of the arm's mean over seeds."""
    rows = []
    for name, axis in result["axes"].items():
        for point in axis["points"]:
            for label, arm in point["arms"].items():
                for seed, value in zip(result["seeds"], arm["values"], strict=True):
                    ends = [point["floor"], point["ceiling"], arm["normalised"], arm["kept"]]
                    place = [result["task"], result["metric"], name, point["label"], label, seed]
                    rows.append([*place, value, *ends, str(bool(result["quick"])).lower()])
    return csv_text(COLUMNS, rows)
