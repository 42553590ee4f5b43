"""The benchmark of heads that are off: names, break-even, what is said and drawn of it."""

from itertools import product

import pytest
import torch

from headwise.lab.bench import heads as bench_heads
from headwise.lab.bench import suite as bench
from headwise.lab.bench.heads import Cell


def ratios(**changes: float) -> dict[str, float]:
    """Of an ideal machine: 1 / share of heads, and per token a loss at 75 %."""
    values = {}
    for kind, percent, length, heads, mode in product(
        ("layer", "sequence", "token"), (25, 50, 75), (512, 1024, 2048), (8, 16), ("train", "infer")
    ):
        name = f"heads/{kind}_{percent}_n{length}_h{heads}_{mode}"
        values[name] = 100 / percent
        if kind == "token":
            values[name] = {25: 1.5, 50: 1.1, 75: 0.99}[percent]
            if percent == 75:
                values[name.replace("heads/", "heads/always_")] = 0.85
    return values | changes


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WIDTH": 32, "LENGTHS": (40, 48), "HEADS": (4,), "TOKENS": 80}.items():
        monkeypatch.setattr(bench_heads, name, value)


@pytest.mark.usefixtures("_small")
def test_every_cell_is_measured_under_its_name_and_with_the_callers_threads_left_alone() -> None:
    threads = torch.get_num_threads()
    results = {result.name: result for result in bench.heads()}
    asked = {
        f"heads/{kind}_{percent}_n{length}_h4_{mode}"
        for kind in ("layer", "sequence", "token")
        for percent in (25, 50, 75)
        for length in (40, 48)
        for mode in ("train", "infer")
    }
    assert asked <= set(results)
    assert all(name.startswith("heads/always_") for name in set(results) - asked)
    assert all(result.ratio > 0 and result.unit == "ms" for result in results.values())
    assert torch.get_num_threads() == threads


def test_names_and_cells_are_the_same_thing() -> None:
    for name in ratios():
        assert Cell.read(name).name == name


def test_break_even_lies_where_the_forced_curve_crosses_one() -> None:
    # From 1.1 at 50 % to 0.85 at 75 %: 1 after two fifths of the way.
    assert bench_heads.break_even(ratios(), "token", 512, 8, "infer") == pytest.approx(60)
    assert bench_heads.break_even(ratios(), "layer", 512, 8, "infer") is None
    lost = ratios(**{"heads/token_25_n512_h8_infer": 0.9})
    assert bench_heads.break_even(lost, "token", 512, 8, "infer") == 0


def test_losses_are_said_by_name() -> None:
    slow = ratios(**{"heads/token_75_n512_h8_train": 0.91})
    said = "\n".join(bench_heads.lines(slow))
    assert "the rule loses more than 3%: token_75_n512_h8_train 0.91" in said
    assert "always_token_75_n2048_h16_infer 0.85" in said
    assert "the rule loses more than 3%: nowhere" in "\n".join(bench_heads.lines(ratios()))


def test_the_curve_has_a_row_for_each_selection_share_and_mode() -> None:
    rows = bench_heads.curve(ratios())
    assert len(rows) == 18
    row = next(r for r in rows if (r["selection"], r["mode"], r["heads on"]) == ("token", "infer", "75 %"))
    assert (row["median"], row["median if forced"], row["dense by the rule"]) == (0.99, 0.85, "6 of 6")


def test_the_plot_shows_every_selection_in_both_modes() -> None:
    drawn = bench_heads.figure(ratios())
    titles = [axis.get_title(loc="left") for axis in drawn.axes]
    assert titles[0] == "layer, inference"
    assert titles[-1] == "token, training"
    assert len(titles) == 6


def test_a_bare_bench_leaves_out_what_takes_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in bench.BENCHMARKS:
        monkeypatch.setitem(bench.BENCHMARKS, name, lambda name=name: [bench.Result(name, 1, "s", 1, 1)])
    ran = {row["name"] for row in bench.run()}
    assert ran == set(bench.BENCHMARKS) - bench.ONLY_NAMED
    assert [row["name"] for row in bench.run(["heads"])] == ["heads"]
