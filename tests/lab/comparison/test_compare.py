"""Comparisons with a stand-in for training: paired, resumable, honest about failures, refused when unfair."""

import csv
import html
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.lab.comparison.compare import compare
from headwise.lab.comparison.parity import TOLERANCE, measure
from headwise.lab.comparison.results import by_test_set
from headwise.lab.comparison.rules import Rule
from headwise.lab.comparison.runs import PlannedRun
from headwise.lab.comparison.workers import Ended, Stopping, Work, perform
from headwise.lab.families import holm
from headwise.lab.outputs import directory_name
from headwise.lab.records import Run, read_run
from headwise.lab.report.tables import markdown_table
from headwise.lab.report.write import write_report
from headwise.lab.statistics import compare_pair
from headwise.training.config import RunConfig, TrainingConfig
from headwise.training.optim import Differentiated
from tests.lab.conftest import CEILING, ONE_LINE_RULE, SCORES, FakeTrain, arm, run_comparison, run_config


class Interrupted(FakeTrain):
    """Is interrupted in one run, as Ctrl-C would, and leaves a checkpoint."""

    def __call__(self, config: Any, *args: Any, **settings: Any) -> Path:
        if (config.name, config.seed) == ("looped", 0):
            checkpoints = settings["directory"] / "checkpoints"
            checkpoints.mkdir(parents=True)
            (checkpoints / "last.ckpt").write_bytes(b"...")
            raise KeyboardInterrupt
        return super().__call__(config, *args, **settings)


def test_every_arm_meets_every_seed_once(tmp_path: Path, fake_train: FakeTrain) -> None:
    run_comparison(tmp_path, fake_train, seeds=3)
    assert sorted(fake_train.calls) == sorted(
        (name, seed, "new") for name in ("baseline", "looped", "hrm") for seed in (0, 1, 2)
    )
    for name, seed, _ in fake_train.calls:
        saved = json.loads((tmp_path / "runs" / name / f"seed{seed}" / "config.yaml").read_text())
        assert (saved["name"], saved["seed"]) == (name, seed)


def test_arms_share_data_recipe_and_updates_and_differ_in_size_only(tmp_path: Path, fake_train: FakeTrain) -> None:
    run_comparison(tmp_path, fake_train)
    saved = [json.loads(file.read_text()) for file in tmp_path.glob("runs/*/seed1/config.yaml")]
    assert len(saved) == 3
    for key in ("task", "training", "seed", "device", "quick"):
        assert saved[0][key] == saved[1][key] == saved[2][key]


def test_what_is_trained_has_the_size_that_is_reported(comparison: Path) -> None:
    arms = json.loads((comparison / "comparison.json").read_text())["arms"]
    for name, entry in arms.items():
        saved = json.loads((comparison / "runs" / name / "seed0" / "config.yaml").read_text())
        assert saved["model"] == entry["model"]
        trained = RunConfig.from_plain(saved)
        assert measure(trained.model, trained.arm, 12).parameters == entry["parameters"]
    assert arms["hrm"]["model"]["width"] < arms["baseline"]["model"]["width"]


def test_comparison_json_has_what_other_programs_read(comparison: Path) -> None:
    result = json.loads((comparison / "comparison.json").read_text())
    assert {"task", "metric", "floor", "ceiling", "arms", "pairs", "references"} <= result.keys()
    assert result["task"] == "sorting"
    assert result["metric"] == "rank_tau"
    assert result["ceiling"] == pytest.approx(CEILING)
    assert result["references"]["one_line_rule"] == pytest.approx(ONE_LINE_RULE)
    for name, arm_result in result["arms"].items():
        assert arm_result["values"] == SCORES[name][:3]
        assert arm_result["mean"] == pytest.approx(sum(SCORES[name][:3]) / 3)
        assert arm_result["interval"][0] < arm_result["mean"] < arm_result["interval"][1]
        assert abs(arm_result["parameter_ratio"] - 1) <= TOLERANCE
        assert {"parameters", "flops_per_example", "train_seconds", "samples_per_second"} <= arm_result.keys()
        assert (arm_result["updates"], arm_result["examples"]) == (result["updates"], result["examples"])
    assert result["arms"]["looped"]["samples_per_second"] == pytest.approx(64 * 40 / 10)
    for pair in result["pairs"]:
        assert {
            "a",
            "b",
            "difference",
            "interval",
            "p_welch",
            "p_paired",
            "hedges_g",
            "smallest_detectable",
        } <= pair.keys()
        assert pair["verdict"]


def test_pairs_are_each_arm_against_the_first_then_the_others_corrected_together(comparison: Path) -> None:
    pairs = json.loads((comparison / "comparison.json").read_text())["pairs"]
    assert [(pair["a"], pair["b"]) for pair in pairs] == [
        ("looped", "baseline"),
        ("hrm", "baseline"),
        ("hrm", "looped"),
    ]
    runs = {
        (label, seed): read_run(comparison / "runs" / label / f"seed{seed}") for label in SCORES for seed in range(3)
    }
    expected = [
        compare_pair(a, b, (SCORES[a][:3], SCORES[b][:3]), by_test_set([a, b], runs, range(3)), (-1.0, 1.0))
        for a, b in ((pair["a"], pair["b"]) for pair in pairs)
    ]
    assert [pair["p_paired"] for pair in pairs] == pytest.approx([pair.p_paired for pair in expected])
    assert [pair["p_holm"] for pair in pairs] == pytest.approx(holm([pair["p_paired"] for pair in pairs]))


def test_the_interval_over_examples_comes_from_paired_test_values(comparison: Path) -> None:
    pair = json.loads((comparison / "comparison.json").read_text())["pairs"][0]
    low, high = pair["interval_examples"]
    # The examples' differences scatter by 0.01 about the difference; unpaired they would scatter by 0.15 * sqrt(2).
    assert low < pair["difference"] < high
    assert high - low < 0.006


def test_seeds_that_share_their_test_examples_stand_together(tmp_path: Path) -> None:
    values = {("a", 0): [1.0, 2.0], ("b", 0): [0.0, 0.0], ("a", 1): [3.0, 4.0], ("b", 1): [0.0, 0.0]}

    def runs(prints: dict[int, str]) -> dict[tuple[str, int], Run]:
        return {
            (arm, seed): Run(tmp_path, {"test_fingerprint": prints[seed]}, test_values=np.float32(own))
            for (arm, seed), own in values.items()
        }

    ((ours, theirs),) = by_test_set(["a", "b"], runs({0: "one", 1: "one"}), [0, 1])
    assert (ours.tolist(), theirs.tolist()) == ([[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]])
    apart = by_test_set(["a"], runs({0: "one", 1: "other"}), [0, 1])
    assert [[values.tolist() for values in own] for own in apart] == [[[[1.0, 2.0]]], [[[3.0, 4.0]]]]


def test_the_csv_has_one_row_for_each_run(comparison: Path) -> None:
    with (comparison / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["seed"]) for row in rows[:4]] == [
        ("baseline", "0"),
        ("baseline", "1"),
        ("baseline", "2"),
        ("looped", "0"),
    ]
    assert float(rows[0]["value"]) == SCORES["baseline"][0]


def test_pairs_are_written_as_csv_and_an_effect_makes_equivalence_a_verdict(
    tmp_path: Path, fake_train: FakeTrain
) -> None:
    result = run_comparison(tmp_path, fake_train, ("baseline", "looped"), seeds=5, rule=Rule(effect=0.01))
    (pair,) = result["pairs"]
    assert (result["effect"], pair["effect"], pair["kind"]) == (0.01, 0.01, "equivalent")
    assert pair["p_equivalent"] < 0.05
    with (tmp_path / "pairs.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["a"], row["b"], row["kind"], row["verdict"]) == ("looped", "baseline", "equivalent", pair["verdict"])
    assert [float(row["low"]), float(row["high"])] == pair["interval"]
    assert float(row["p_equivalent"]) == pair["p_equivalent"]
    text = write_report(tmp_path).read_text()
    assert "p equivalent" in text
    assert pair["verdict"] in html.unescape(text)
    assert "- " + pair["verdict"] in markdown_table(result)


def test_an_effect_of_0_is_refused_before_anything_runs(tmp_path: Path, fake_train: FakeTrain) -> None:
    with pytest.raises(InputError, match="effect=0: the smallest difference of interest, above 0"):
        run_comparison(tmp_path / "out", fake_train, rule=Rule(effect=0.0))
    assert not (tmp_path / "out").exists()
    assert fake_train.calls == []


def test_finished_runs_are_kept_and_more_seeds_may_be_added(tmp_path: Path, fake_train: FakeTrain) -> None:
    first = run_comparison(tmp_path, fake_train, seeds=2)
    fake_train.calls.clear()
    second = run_comparison(tmp_path, fake_train, seeds=3)
    assert sorted(fake_train.calls) == [("baseline", 2, "new"), ("hrm", 2, "new"), ("looped", 2, "new")]
    assert second["arms"]["hrm"]["values"][:2] == first["arms"]["hrm"]["values"]


def test_a_comparison_that_was_stopped_goes_on_with_what_is_missing(tmp_path: Path, fake_train: FakeTrain) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_comparison(tmp_path, Interrupted(SCORES), seeds=2)
    run_comparison(tmp_path, fake_train, seeds=2)
    assert fake_train.calls == [("looped", 0, "resume"), ("hrm", 0, "new")] + [
        (name, 1, "new") for name in ("baseline", "looped", "hrm")
    ]


def test_a_checkpoint_that_cannot_be_resumed_is_trained_again(tmp_path: Path, fake_train: FakeTrain) -> None:
    class Damaged(FakeTrain):
        def __call__(self, config: Any, resume: Path | None = None, **settings: Any) -> Path:
            if resume:
                raise InputError(f"{resume}: damaged")
            return super().__call__(config, resume, **settings)

    run = tmp_path / "runs" / "hrm" / "seed0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "last.ckpt").write_bytes(b"...")
    (run / "config.yaml").write_text("{}")
    result = run_comparison(tmp_path, Damaged(SCORES), seeds=1)
    assert result["arms"]["hrm"]["values"] == SCORES["hrm"][:1]
    assert not (run / "checkpoints").exists()


def test_a_failed_run_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    train = FakeTrain(SCORES, failing=frozenset({("hrm", 1)}))
    result = run_comparison(tmp_path, train)
    assert result["arms"]["hrm"]["values"] == [SCORES["hrm"][0], None, SCORES["hrm"][2]]
    assert result["arms"]["hrm"]["failures"] == {
        "1": "RuntimeError: update 31: loss nan, gradients blew up in controller of hrm"
    }
    assert [pair["n"] for pair in result["pairs"]] == [3, 2, 2]
    run = tmp_path / "runs" / "hrm" / "seed1"
    assert "Traceback" in (run / "error.txt").read_text()
    assert (run / "metrics.jsonl").is_file()


def test_a_failed_run_is_tried_again(tmp_path: Path, fake_train: FakeTrain) -> None:
    run_comparison(tmp_path, FakeTrain(SCORES, failing=frozenset({("hrm", 1)})))
    result = run_comparison(tmp_path, fake_train)
    assert fake_train.calls == [("hrm", 1, "new")]
    assert result["arms"]["hrm"]["failures"] == {}
    assert not (tmp_path / "runs" / "hrm" / "seed1" / "error.txt").exists()


def test_a_comparison_in_which_everything_failed_says_so(tmp_path: Path) -> None:
    everything = frozenset((name, seed) for name in SCORES for seed in range(3))
    result = run_comparison(tmp_path, FakeTrain(SCORES, failing=everything))
    assert result["headline"] == "No result for looped and hrm"
    assert result["floor"] is None
    assert {pair["kind"] for pair in result["pairs"]} == {"no result"}


def test_arms_that_differ_in_the_recipe_are_refused(tmp_path: Path, fake_train: FakeTrain) -> None:
    arms = [("baseline", run_config("baseline")), ("hrm", run_config("hrm", training=TrainingConfig(updates=80)))]
    with pytest.raises(InputError, match=r"training\.updates=80 in arm hrm but 40 in baseline"):
        compare(arms, output=tmp_path / "out", train=fake_train)
    assert not (tmp_path / "out").exists()
    assert fake_train.calls == []


def test_arms_may_differ_in_learning_rates_which_the_result_keeps(tmp_path: Path, fake_train: FakeTrain) -> None:
    plain, faster = run_config("baseline"), run_config("looped")
    faster = replace(faster, training=replace(faster.training, preset=Differentiated()))
    result = compare([("baseline", plain), ("looped", faster)], seeds=2, output=tmp_path, jobs=1, train=fake_train)
    assert [result["arms"][label]["preset"]["name"] for label in ("baseline", "looped")] == [
        "uniform",
        "differentiated",
    ]


def test_arms_that_match_in_nothing_are_refused_before_anything_runs(tmp_path: Path, fake_train: FakeTrain) -> None:
    with pytest.raises(InputError, match="parity=none: the arms agree neither"):
        run_comparison(tmp_path / "out", fake_train, ("baseline", "hrm"), parity="none")
    assert not (tmp_path / "out").exists()
    assert fake_train.calls == []


def test_an_output_with_runs_of_another_making_is_refused(tmp_path: Path, fake_train: FakeTrain) -> None:
    run_comparison(tmp_path, fake_train, seeds=1)
    fake_train.calls.clear()
    arms = [(name, run_config(name, training=TrainingConfig(updates=80))) for name in ("baseline", "hrm")]
    with pytest.raises(InputError, match=r"holds runs of .* with training\.updates=40, now 80; choose another output"):
        compare(arms, seeds=1, output=tmp_path, train=fake_train)
    assert fake_train.calls == []


@pytest.mark.parametrize("seeds", [0, -1, [], [1, 1], [-1, 2]])
def test_seeds_that_mean_nothing_are_refused(tmp_path: Path, fake_train: FakeTrain, seeds: Any) -> None:
    with pytest.raises(InputError, match="seeds="):
        run_comparison(tmp_path / "out", fake_train, seeds=seeds)


def test_no_processes_and_no_arms_are_refused(tmp_path: Path, fake_train: FakeTrain) -> None:
    with pytest.raises(InputError, match="jobs=0: choose 1 or more"):
        run_comparison(tmp_path / "out", fake_train, jobs=0)
    with pytest.raises(InputError, match="name at least one arm"):
        run_comparison(tmp_path / "out", fake_train, ())
    assert not (tmp_path / "out").exists()


def test_two_labels_that_would_share_a_directory_are_refused(tmp_path: Path, fake_train: FakeTrain) -> None:
    arms = [("hrm:a", run_config("hrm")), ("hrm/a", run_config("hrm"))]
    with pytest.raises(InputError, match="two names"):
        compare(arms, output=tmp_path / "out", train=fake_train)


def test_labels_become_directories_that_every_file_system_takes() -> None:
    assert directory_name("hrm:refinement.steps=12") == "hrm-refinement.steps=12"
    assert directory_name("../../etc") == "etc"
    assert directory_name("???") == "arm"


def test_seeds_may_be_named_and_count_from_the_configurations_own(tmp_path: Path, fake_train: FakeTrain) -> None:
    assert run_comparison(tmp_path / "a", fake_train, seeds=[4, 1])["seeds"] == [4, 1]
    arms = [("baseline", run_config("baseline", seed=2)), ("looped", run_config("looped", seed=2))]
    assert compare(arms, seeds=2, output=tmp_path / "b", jobs=1, train=fake_train)["seeds"] == [2, 3]


def test_two_processes_give_what_one_gives(tmp_path: Path, fake_train: FakeTrain) -> None:
    alone = run_comparison(tmp_path / "one", fake_train, ("baseline", "looped"), seeds=2)
    beside = run_comparison(tmp_path / "two", fake_train, ("baseline", "looped"), seeds=2, jobs=2)
    different = ("how", "directory")
    assert {k: v for k, v in alone.items() if k not in different} == {
        k: v for k, v in beside.items() if k not in different
    }
    assert beside["how"]["processes"] == 2


def test_an_interrupt_in_a_worker_is_a_value_that_leaves_those_beside_it_to_end(tmp_path: Path) -> None:
    # Raised, it would break the pool: the others would be killed in the middle of what they write
    run = PlannedRun("looped", 0, run_config("looped"), tmp_path / "run")
    try:
        ended = perform(Work.of(3, run, Interrupted(SCORES), 1), Stopping())
    except KeyboardInterrupt:  # which would end pytest
        pytest.fail("raised")
    assert ended == Ended(3, stopped=True)
    assert not (run.directory / "error.txt").exists()


def test_nothing_unfinished_is_left_beside_the_results(comparison: Path) -> None:
    names = {path.name for path in comparison.iterdir()}
    assert names == {"comparison.json", "comparison.csv", "pairs.csv", "report.html", "plan.json", "data.json", "runs"}


def test_a_comparison_itself_writes_no_page(tmp_path: Path, fake_train: FakeTrain) -> None:
    run_comparison(tmp_path, fake_train, ("baseline", "hrm"), seeds=1)
    assert not list(tmp_path.rglob("report.html"))


def test_one_arm_alone_is_described_without_a_verdict(tmp_path: Path, fake_train: FakeTrain) -> None:
    result = run_comparison(tmp_path, fake_train, ("baseline",))
    assert result["pairs"] == []
    assert result["headline"] == "One arm, nothing to compare it with"


def test_an_arm_may_have_a_shape_of_its_own(tmp_path: Path, fake_train: FakeTrain) -> None:
    config = run_config("baseline")
    deep = replace(config, name="deep", model=replace(config.model, depth=3))
    train = FakeTrain(SCORES | {"deep": SCORES["looped"]})
    result = compare([("baseline", config), ("deep", deep)], seeds=2, output=tmp_path, jobs=1, train=train)
    assert result["arms"]["deep"]["model"]["depth"] == 3
    assert abs(result["arms"]["deep"]["parameter_ratio"] - 1) <= TOLERANCE
    assert arm("baseline") == deep.arm
