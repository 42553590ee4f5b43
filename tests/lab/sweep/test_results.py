"""Main effects, interactions and sentences of a sweep, against what the made-up values were made of."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headwise import cli
from headwise.errors import InputError
from headwise.lab.records import read_sweep
from headwise.lab.report.sweep import figures, sweep_page
from headwise.lab.report.sweep_tables import sweep_text
from headwise.lab.report.write import write_report
from headwise.lab.sweep.results import MOST_CELLS, best_setting, interactions, main_effects
from tests.lab.sweep.conftest import PERIOD, STEPS, SweepTrain, by_both, close, run


def made_up(values: dict[tuple[str, str], list[float | None]], **more: Any) -> dict[str, Any]:
    """A result with these values by the values of two keys, training.warmup and model.depth."""
    arms = {
        f"{warmup},{depth}": {
            "values": own,
            "keys": {"training.warmup": warmup, "model.depth": depth},
            "floor": 0.0,
            "ceiling": 2.0,
            "validation_mean": None if None in own else math.fsum(filter(None, own)),
            "tested": True,
        }
        for (warmup, depth), own in values.items()
    }
    keys = {"training.warmup": "warmup", "model.depth": "depth"}
    ends = {"normalised": False, "higher_is_better": True, "metric_range": [None, None]}
    return {"arms": arms, "keys": keys, **ends, **more}


def test_main_effects_are_means_over_the_rest(finished: Path) -> None:
    """by_both = 0.3 + 0.01 p + 0.015 s + 0.01 p s with p in -1, 0, 1 and s in 0, 1; averaged over the other key."""
    period, steps = read_sweep(finished)["effects"]
    assert [point["value"] for point in period["points"]] == ["2", "3", "4"]
    assert [point["mean"] for point in period["points"]] == [close(0.2925), close(0.3075), close(0.3225)]
    assert [point["mean"] for point in steps["points"]] == [close(0.3), close(0.315)]
    assert [point["settings"] for point in period["points"]] == [2, 2, 2]


def test_interactions_show_each_pair_of_values(finished: Path) -> None:
    (one,) = read_sweep(finished)["interactions"]
    assert one["names"] == ["controller.period", "refinement.steps"]
    assert one["values"] == [["2", "3", "4"], ["6", "9"]]
    expected = [[0.29, 0.295], [0.3, 0.315], [0.31, 0.335]]
    for row, wanted in zip(one["means"], expected, strict=True):
        assert row == [close(value) for value in wanted]


def test_what_seeds_have_in_common_is_no_part_of_an_interval() -> None:
    """Two values whose difference is the same on every seed up to noise e: the interval is that of the paired
    difference, halved as each value has half of it, times sqrt(2) for two values."""
    common, e = np.array([0.0, 5.0, -3.0, 2.0]), np.array([0.01, -0.02, 0.03, 0.0])
    values = {("0.0", "1"): list(common), ("0.1", "1"): list(common + 1 + e)}
    warmup, depth = main_effects(made_up(values))
    error = stats.sem(e) * stats.t.ppf(0.975, 3)
    for point in warmup["points"]:
        low, high = point["interval"]
        assert high - low == pytest.approx(2 * math.sqrt(2) * error / 2)
        assert (low + high) / 2 == pytest.approx(point["mean"])
    assert [point["interval"] for point in depth["points"]] == [None]


def test_intervals_stay_within_the_range_of_the_metric() -> None:
    values = {("0.0", "1"): [0.99, 1.0, 0.95], ("0.1", "1"): [0.2, 0.6, 0.9]}
    warmup, _ = main_effects(made_up(values, metric_range=[0.0, 1.0]))
    assert max(end for point in warmup["points"] for end in point["interval"]) == 1.0


def test_a_seed_that_a_setting_lacks_is_left_out_of_its_means_and_of_all_intervals() -> None:
    values = {("0.0", "1"): [1.0, 2.0, 3.0], ("0.0", "2"): [3.0, None, 5.0], ("0.1", "1"): [2.0, 2.0, 2.5]}
    result = made_up(values)  # type: ignore[arg-type]
    warmup, _ = main_effects(result)
    assert [point["mean"] for point in warmup["points"]] == [3.0, pytest.approx(6.5 / 3)]
    apart = np.array([2.0 - 2.0, 4.0 - 2.5]) / 2
    half = stats.sem(apart) * stats.t.ppf(0.975, 1) * math.sqrt(2)
    assert warmup["points"][0]["interval"] == pytest.approx((3 - half, 3 + half))
    (one,) = interactions(result)
    assert one["means"] == [[2.0, 4.0], [pytest.approx(6.5 / 3), None]]


def test_settings_with_examples_of_their_own_are_put_between_their_own_floor_and_ceiling() -> None:
    values = {("0.0", "1"): [1.0], ("0.1", "1"): [0.5]}
    warmup, _ = main_effects(made_up(values, normalised=True))
    assert [point["mean"] for point in warmup["points"]] == [0.5, 0.25]


def test_a_key_of_very_many_values_has_no_map() -> None:
    many = [f"{n / 100}" for n in range(MOST_CELLS + 1)]
    values = {(warmup, depth): [0.1] for warmup, depth in itertools.product(many, ("1", "2"))}
    assert interactions(made_up(values)) == []
    (one,) = interactions(made_up({key: own for key, own in values.items() if key[0] != many[0]}))
    assert len(one["means"]) == MOST_CELLS


def test_numbers_stand_in_their_order_however_they_were_tried() -> None:
    values = {(warmup, "1"): [0.1, 0.2] for warmup in ("0.5", "1e-3", "0.05")}
    warmup, _ = main_effects(made_up(values))
    assert [point["value"] for point in warmup["points"]] == ["1e-3", "0.05", "0.5"]


@pytest.mark.parametrize(("higher", "best"), [(True, "b"), (False, "c")])
def test_the_best_is_chosen_by_the_direction_of_the_metric_and_the_base_wins_a_draw(higher: bool, best: str) -> None:
    known = {"base": 2.0, "b": 3.0, "c": 1.0, "unfinished": None, "elsewhere": 9.0}
    arms = {label: {"validation_mean": mean, "tested": label != "elsewhere"} for label, mean in known.items()}
    assert best_setting({"arms": arms, "higher_is_better": higher}) == best
    same = {label: {"validation_mean": 2.0, "tested": True} for label in ("base", "b")}
    assert best_setting({"arms": same, "higher_is_better": higher}) == "base"


def test_the_page_shows_settings_effects_maps_and_fresh_seeds(finished: Path) -> None:
    page = sweep_page(finished, read_sweep(finished))
    assert [figure.title for figure in page.result_figures] == ["What each key does", "What pairs of keys do together"]
    assert len(page.results.rows) == 6
    assert page.pairs is not None
    assert page.pairs[0].kind.startswith("fresh seeds: ")
    text = (finished / "report.html").read_text(encoding="utf-8")
    for part in ("refinement.steps", "confirmation/report.html", "controller.<wbr>period=<wbr>4"):
        assert part in text
    assert "<script" not in text
    confirmed = (finished / "confirmation" / "report.html").read_text(encoding="utf-8")
    assert "sizes of their own" in confirmed or "within 1 %" in confirmed


def test_one_key_has_no_map_and_a_sweep_without_a_result_no_plot(tmp_path: Path) -> None:
    result = run(tmp_path / "one", SweepTrain(by_both), confirm=0)
    assert list(figures(result)) == ["effects"]
    failing = frozenset((label, seed) for label in result["arms"] for seed in range(3))
    failed = run(tmp_path / "none", SweepTrain(by_both, failing=failing), confirm=0)
    assert figures(failed) == {}
    assert sweep_page(tmp_path / "none", failed).failures
    assert sweep_text(failed)


def test_the_page_can_be_written_again_and_its_table_put_into_a_document(finished: Path, tmp_path: Path) -> None:
    document = tmp_path / "table.md"
    assert cli.main(["report", str(finished), f"markdown={document}"]) == 0
    text = document.read_text(encoding="utf-8")
    assert text.count("| controller.period=") == 6
    assert read_sweep(finished)["headline"] in text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"best": "period=9"}, "best is no arm"),
        ({"base": "period=9"}, "base is no arm"),
        ({"effects": [{"key": 3}]}, r"effects\[0\]\.key is"),
        ({"arms": {}}, "no arms"),
        ({"lead": None}, "lead is null"),
    ],
)
def test_a_damaged_result_is_named_with_what_mends_it(
    tmp_path: Path, finished: Path, damage: dict[str, Any], message: str
) -> None:
    content = json.loads((finished / "sweep.json").read_text()) | damage
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"sweep\.json: damaged: .*{message}.*run `headwise sweep` again"):
        write_report(tmp_path)


def test_both_keys_together_are_swept(tmp_path: Path) -> None:
    result = run(tmp_path, SweepTrain(by_both), (PERIOD, STEPS), seeds=2, confirm=1)
    assert result["best"] == "controller.period=4,refinement.steps=9"
    assert result["headline"].endswith("too few seeds")
