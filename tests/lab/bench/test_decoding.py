"""The benchmark of decoding: both read-outs, as it is run, on a few small mazes."""

import pytest

from headwise.lab.bench import decoding
from headwise.lab.bench import suite as bench


def test_both_read_outs_are_timed_on_mazes_of_the_length_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    small = decoding.measure
    monkeypatch.setattr(decoding, "measure", lambda: small(mazes=5, size=6, min_path_length=10, steps=2))
    grid, next_cell = bench.run(["decoding"])
    assert (grid["name"], next_cell["name"]) == ("decoding/grid", "decoding/next_cell")
    for row in (grid, next_cell):
        assert row["unit"] == "s"
        assert row["ratio"] == pytest.approx(row["value"] / row["reference"])
        assert row["value"] > 0
