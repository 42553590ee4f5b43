"""Finished runs outside their distribution: the stories of a user, and what they may rely on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.lab.comparison.train import Stopped
from headwise.lab.families import holm
from headwise.lab.ood import measure
from headwise.lab.ood.axes import MODEL_AXES
from headwise.lab.ood.ood import ood
from headwise.lab.records import read_ood
from headwise.lab.report.write import write_report
from headwise.models.backbone import Backbone
from headwise.training.evaluation import evaluate

Copied = Callable[[], Path]


def point(result: dict[str, Any], axis: str, label: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in result["axes"][axis]["points"] if one["label"] == label)
    return found


def summary(directory: Path, arm: str, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "runs" / arm / f"seed{seed}" / "summary.json").read_text())
    return found


@pytest.fixture(scope="module")
def result(sorting: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every axis that the task and every model have; only to be read."""
    return ood([sorting], output=tmp_path_factory.mktemp("every"))


def test_every_axis_has_its_neutral_point_at_which_each_run_scores_what_it_did_in_training(
    sorting: Path, result: dict[str, Any]
) -> None:
    assert list(result["axes"]) == ["length", "mask_rate", *MODEL_AXES]
    for axis in result["axes"].values():
        neutral = [one for one in axis["points"] if one["is_neutral"]]
        assert [one["value"] for one in neutral] == [axis["neutral"]]
        for arm, found in neutral[0]["arms"].items():
            assert found["values"] == [summary(sorting, arm, seed)["value"] for seed in (0, 1, 2)]
            assert found["kept"] in (None, 1)
    assert result["notes"] == []


def test_a_point_of_a_task_is_what_evaluate_scores_on_the_same_examples(sorting: Path, result: dict[str, Any]) -> None:
    one = evaluate(sorting / "runs/gated/seed1", {"task.length": 8, "seed": measure.DRAWN})
    found = point(result, "length", "8")
    assert found["arms"]["gated"]["values"][1] == one["value"]
    assert [found["floor"], found["ceiling"]] == pytest.approx([one["floor"], one["ceiling"]], rel=1e-12)


def test_more_steps_are_what_evaluate_scores_with_them(sorting: Path, result: dict[str, Any]) -> None:
    one = evaluate(sorting / "runs/gated/seed2", {"arm.refinement.steps": 6})
    assert point(result, "steps", "2")["arms"]["gated"]["values"][2] == one["value"]


def test_drawn_examples_are_the_same_for_all_runs_and_none_of_theirs(sorting: Path, result: dict[str, Any]) -> None:
    measured = Path(result["directory"]) / "measured"
    prints = [json.loads(file.read_text())["fingerprint"] for file in measured.glob("length/8/*.json")]
    own = [summary(sorting, "gated", seed)["test_fingerprint"] for seed in (0, 1, 2)]
    assert len(prints) == 6
    assert len(set(prints)) == 1
    assert len({*prints, *own}) == 4
    assert point(result, "length", "8")["pairs"][0]["estimate"]["examples"] == 40  # which the seeds share


def test_floor_and_ceiling_are_those_of_each_test_set(result: dict[str, Any]) -> None:
    visible = {one["label"]: one["ceiling"] for one in result["axes"]["mask_rate"]["points"] if one["examples"]}
    assert visible["0.2"] > visible["0.5"] + 0.1  # what is seen can be put in order
    for axis in ("steps", "heads", "random_heads", "noise"):
        assert len({(one["floor"], one["ceiling"]) for one in result["axes"][axis]["points"]}) == 1


def test_kept_is_the_normalised_score_against_that_in_distribution(result: dict[str, Any]) -> None:
    for axis in result["axes"].values():
        before = next(one for one in axis["points"] if one["is_neutral"])
        for one in axis["points"]:
            for arm, found in one["arms"].items():
                if found["kept"] is None:
                    continue
                scores = [
                    (place["arms"][arm]["mean"] - place["floor"]) / (place["ceiling"] - place["floor"])
                    for place in (one, before)
                ]
                assert found["kept"] == pytest.approx(scores[0] / scores[1])
                assert found["loss"] == pytest.approx(1 - found["kept"])


def test_the_points_of_an_axis_are_one_family_of_tests(result: dict[str, Any]) -> None:
    for axis in result["axes"].values():
        pairs = [pair for one in axis["points"] for pair in one["pairs"]]
        assert [pair["p_holm"] for pair in pairs] == holm([pair["p_paired"] for pair in pairs])


def test_a_point_that_does_not_fit_is_said_in_a_line_and_the_rest_goes_on(result: dict[str, Any]) -> None:
    masked = point(result, "mask_rate", "0.8")
    assert masked["examples"] == 0
    assert "leaves 1 of task.length=6 elements visible" in masked["left_out"]["gated, seed 0"]
    half = point(result, "steps", "0.5")
    assert half["arms"]["baseline"]["mean"] is None
    assert half["arms"]["gated"]["mean"] is not None
    assert "fewer are none" in half["left_out"]["baseline, seed 2"]


def test_what_was_measured_is_kept_and_only_what_is_missing_is_measured(
    copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = copied()
    first = ood([directory], {"length": [8, 9], "noise": [0.5]})
    place = directory / "ood" / "measured"
    (place / "noise" / "0.5" / "gated-seed1.npy").unlink()
    (place / "length" / "8" / "baseline-seed0.json").write_text("{")
    called: list[str] = []
    real = measure.Measuring.__call__

    def counted(self: measure.Measuring, run: Any, axis: Any, value: Any = None) -> Any:
        called.append(f"{axis.name} {value} {run.name}")
        return real(self, run, axis, value)

    monkeypatch.setattr(measure.Measuring, "__call__", counted)
    again = ood([directory], {"length": [8, 9], "noise": [0.5]})
    assert called == ["length 8 baseline, seed 0", "noise 0.5 gated, seed 1"]
    assert again["axes"] == first["axes"]
    more = ood([directory], ["mask_rate"])  # of another call, beside those
    assert list(more["axes"]) == ["mask_rate", "length", "noise"]
    assert more["axes"]["noise"] == first["axes"]["noise"]


def test_a_run_that_was_trained_again_is_measured_again(copied: Copied) -> None:
    directory = copied()
    ood([directory], {"noise": [0.5]})
    weights = directory / "runs/gated/seed0/model.safetensors"
    weights.write_bytes((directory / "runs/gated/seed1/model.safetensors").read_bytes())
    found = ood([directory], {"noise": [0.5]})
    assert "gated, seed 0: scores" in found["notes"][0]
    assert "another version of headwise or of its data" in found["notes"][0]


def test_an_interrupt_loses_nothing(copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, real = copied(), measure.Measuring.__call__

    def stopped(self: measure.Measuring, run: Any, axis: Any, value: Any = None) -> Any:
        if value == 10:
            raise KeyboardInterrupt
        return real(self, run, axis, value)

    monkeypatch.setattr(measure.Measuring, "__call__", stopped)
    with pytest.raises(Stopped) as stop:
        ood([directory], {"length": [8, 10]})
    assert stop.value.output == directory / "ood"
    monkeypatch.undo()
    assert [one["label"] for one in read_ood(directory / "ood")["axes"]["length"]["points"]] == ["6", "8"]
    whole = ood([directory], {"length": [8, 10]})
    assert [one["label"] for one in whole["axes"]["length"]["points"]] == ["6", "8", "10"]


def test_settings_hold_at_every_point_and_need_an_output_of_their_own(copied: Copied) -> None:
    directory = copied()
    found = ood([directory], {"noise": [0.5]}, settings={"task.mask_rate": 0.34})
    one = evaluate(directory / "runs/gated/seed0", {"task.mask_rate": 0.34})
    assert ood([directory], ["mask_rate"], settings={"task.mask_rate": 0.34})["axes"]["mask_rate"]["neutral"] == 0.34
    assert point(found, "noise", "0")["arms"]["gated"]["values"][0] == one["value"]
    with pytest.raises(InputError, match=r"measured with settings task.mask_rate=0.34, now as trained; choose another"):
        ood([directory], {"noise": [0.5]})


def test_single_runs_are_arms_by_their_names(copied: Copied, tmp_path: Path) -> None:
    runs = copied() / "runs"
    found = ood([runs / "baseline/seed1", runs / "gated/seed1"], {"heads": [1]}, tmp_path / "out")
    assert (list(found["arms"]), found["seeds"]) == (["baseline", "gated"], [1])
    assert {pair["kind"] for one in found["axes"]["heads"]["points"] for pair in one["pairs"]} == {"too few seeds"}
    assert ood([runs / "gated/seed2"], {"heads": [1]})["directory"] == str(runs / "gated/seed2/ood")


def test_longer_walks_have_exactly_so_many_hops_and_steps_for_each(
    walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    real = Backbone.set_steps
    monkeypatch.setattr(Backbone, "set_steps", lambda self, steps: (taken.append(steps), real(self, steps)))
    found = ood([walk], {"hops": [2, 4]}, tmp_path)
    assert taken == [2, 6]  # twice as many hops as trained, with twice the steps of each arm
    settings = {"task.hops": 4, "task.train_hops": 2, "task.test_hops": 4, "seed": measure.DRAWN}
    one = evaluate(walk / "runs/gated/seed0", settings | {"arm.refinement.steps": 6})
    assert point(found, "hops", "4")["arms"]["gated"]["values"] == [one["value"]]
    assert point(found, "hops", "1 to 2")["is_neutral"]


def test_weights_that_know_one_size_do_not_fit_larger_mazes(maze: Path, tmp_path: Path) -> None:
    found = ood([maze], {"size": [6], "family": ["spanning_tree"], "steps": [2]}, tmp_path)
    assert set(point(found, "size", "6")["left_out"].values()) == {
        "the run was trained on data with size=4, these have 6"
    }
    assert point(found, "family", "spanning_tree")["arms"]["gated"]["mean"] is not None
    assert point(found, "steps", "2")["arms"]["baseline"]["mean"] is not None


def test_random_heads_are_nested_and_the_same_for_all_arms_of_a_seed() -> None:
    order = measure.random_order(2, 4, seed=3)
    assert np.array_equal(np.sort(order.numpy(), 1), [[0, 1, 2, 3]] * 2)
    assert np.array_equal(order.numpy(), measure.random_order(2, 4, seed=3).numpy())
    assert not np.array_equal(order.numpy(), measure.random_order(2, 4, seed=4).numpy())


def test_where_no_ceiling_is_known_the_gain_over_the_floor_is_what_is_kept(text: Path, tmp_path: Path) -> None:
    found = ood([text], {"corpus": [str(text.parent / "other.txt")], "context": None}, tmp_path)
    assert found["score"] == "gain over the floor"
    neutral, other = found["axes"]["corpus"]["points"]
    assert neutral["ceiling"] is None
    for arm in found["arms"]:
        gains = [one["floor"] - one["arms"][arm]["mean"] for one in (other, neutral)]
        kept = other["arms"][arm]["kept"]
        assert kept == (pytest.approx(gains[0] / gains[1]) if gains[1] > 0 else None)
    assert point(found, "context", "16")["left_out"]["gated, seed 0"].startswith(
        "task.context=16: examples of 16 tokens, the run was trained on at most 8"
    )
    assert point(found, "context", "4")["arms"]["gated"]["mean"] is not None
    assert list(ood([text], ["noise"], tmp_path)["axes"]) == ["noise", "corpus", "context"]  # of the first call, too
    assert "kept of the gain over the floor" in write_report(tmp_path).read_text(encoding="utf-8")
