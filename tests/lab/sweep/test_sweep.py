"""Sweeps with a stand-in for training: what is trained, chosen, confirmed and said, and what goes on."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError
from headwise.files import read_mapping
from headwise.lab.comparison.compare import compare
from headwise.lab.comparison.train import Stopped
from headwise.lab.records import read_comparison, read_sweep
from headwise.lab.report.sweep_tables import sweep_text
from headwise.lab.sweep.plan import dry_run, prepare
from headwise.lab.sweep.sweep import sweep
from headwise.training.config import RunConfig
from tests.lab.conftest import SCORES, FakeTrain, run_config
from tests.lab.sweep.conftest import PERIOD, STEPS, SweepTrain, by_both, by_period, run, space_of

LABELS = ["controller.period=4", "controller.period=2", "controller.period=3"]


def test_every_setting_meets_every_seed_and_the_best_and_the_base_meet_fresh_ones(tmp_path: Path) -> None:
    train = SweepTrain(lambda config: 0.5 - by_period(config))
    result = run(tmp_path, train)
    search = [(label, seed) for seed in (0, 1, 2) for label in LABELS]
    assert train.calls == search + [(label, seed) for seed in (3, 4, 5) for label in (LABELS[0], LABELS[1])]
    assert result["best"] == "controller.period=2"
    assert read_comparison(tmp_path / "confirmation")["seeds"] == [3, 4, 5]
    assert {path.name for path in tmp_path.iterdir()} == {"sweep.json", "sweep.csv", "search", "confirmation"}


def test_what_is_said_of_the_best_is_what_fresh_seeds_say(tmp_path: Path) -> None:
    """The lead of a setting that was lucky on the seeds of the search is gone on others."""
    luck = {("controller.period=2", seed): 0.05 for seed in (0, 1, 2)}

    class Lucky(SweepTrain):
        def __call__(self, config: RunConfig, *args: Any, **how: Any) -> Path:
            self.value = lambda _: 0.3 + luck.get((config.name, config.seed), 0.0)
            return super().__call__(config, *args, **how)

    result = run(tmp_path, Lucky(by_period))
    assert {pair["a"]: pair["kind"] for pair in result["pairs"]}["controller.period=2"] == "better"
    assert result["best"] == "controller.period=2"
    assert result["confirmation"]["pair"]["kind"] not in ("better", "worse")
    assert result["headline"].startswith("controller.period=2 is not shown to be better than controller.period=4")
    assert "on 3 fresh seeds, after it was the best of 3 settings on validation" in result["headline"]
    assert result["leads"]["validation"] == pytest.approx(0.05, abs=0.005)
    assert result["leads"]["confirmed"] == pytest.approx(0.0, abs=0.005)
    assert "shrank by" in result["lead"][0] or "it is gone" in result["lead"][0]


def test_a_lead_that_fresh_seeds_bear_out_is_called_better_by_what_they_show(tmp_path: Path) -> None:
    result = run(tmp_path, SweepTrain(lambda config: 0.5 - by_period(config)))
    pair = read_comparison(tmp_path / "confirmation")["pairs"][0]
    assert result["confirmation"]["pair"] == pair
    assert pair["kind"] == "better"
    assert result["headline"].startswith("controller.period=2 is better than controller.period=4 by 0.0")
    assert f"{pair['interval'][0]:.4f} to {pair['interval'][1]:.4f} with 95 % confidence" in result["headline"]


def test_the_best_is_chosen_on_validation_whatever_the_test_examples_say(tmp_path: Path) -> None:
    """Planted: test scores favour 2, validation 3. Choosing on test would be choosing with the answers at hand."""

    def validation(config: RunConfig) -> float:
        return 0.45 if config.arm.controller.slow_period == 3 else 0.30

    result = run(tmp_path, SweepTrain(lambda config: 0.5 - by_period(config), validation))
    means = {label: arm["mean"] for label, arm in result["arms"].items()}
    assert max(means, key=lambda label: means[label]) == "controller.period=2"
    assert result["best"] == "controller.period=3"


def test_where_the_base_is_the_best_nothing_more_is_trained(tmp_path: Path) -> None:
    train = SweepTrain(by_period)
    result = run(tmp_path, train)
    assert result["best"] == result["base"] == "controller.period=4"
    assert len(train.calls) == 9
    assert result["confirmation"] is None
    assert result["headline"] == "The base, controller.period=4, is the best of 3 settings on validation"
    assert not (tmp_path / "confirmation").exists()


def test_without_fresh_seeds_there_is_no_verdict(tmp_path: Path) -> None:
    result = run(tmp_path, SweepTrain(lambda config: 0.5 - by_period(config)), confirm=0)
    assert result["confirmation"] is None
    assert result["headline"].endswith("without fresh seeds (confirm=) that is no verdict")


def test_each_setting_is_compared_with_the_base_alone_and_corrected_for_their_number(finished: Path) -> None:
    result = read_sweep(finished)
    base = "controller.period=4,refinement.steps=6"
    assert [pair["b"] for pair in result["pairs"]] == [base] * 5
    assert {pair["a"] for pair in result["pairs"]} == result["arms"].keys() - {base}
    smallest = min(result["pairs"], key=lambda pair: pair["p_paired"])
    assert smallest["p_holm"] == pytest.approx(min(1.0, 5 * smallest["p_paired"]))
    assert smallest["confidence"] == pytest.approx(1 - 0.05 / 5)


def test_a_quick_try_gives_no_verdict(tmp_path: Path) -> None:
    result = run(tmp_path, SweepTrain(by_period), (PERIOD, "quick=true"), confirm=1)
    assert result["headline"] == "A quick try with cut-down settings: no verdict"
    assert result["lead"] == []
    assert {pair["kind"] for pair in result["pairs"]} == {"no verdict"}


def test_what_was_trained_is_kept_and_seeds_and_values_may_be_added(tmp_path: Path) -> None:
    run(tmp_path, SweepTrain(by_period), confirm=0)
    again = SweepTrain(by_period)
    run(tmp_path, again, confirm=0)
    assert again.calls == []
    more = SweepTrain(by_period)
    result = run(tmp_path, more, ("arm.controller.period=2,3,4,5",), seeds=4, confirm=0)
    assert sorted(more.calls) == sorted(
        [("controller.period=5", seed) for seed in range(4)] + [(label, 3) for label in LABELS]
    )
    assert result["best"] == "controller.period=5"


@pytest.mark.parametrize(
    ("at", "where"), [(("controller.period=2", 1), "search"), (("controller.period=2", 4), "confirmation")]
)
def test_a_sweep_that_was_stopped_goes_on_with_the_same_output(tmp_path: Path, at: tuple[str, int], where: str) -> None:
    class Interrupted(SweepTrain):
        def __call__(self, config: RunConfig, *args: Any, **how: Any) -> Path:
            if (config.name, config.seed) == at:
                raise KeyboardInterrupt
            return super().__call__(config, *args, **how)

    def value(config: RunConfig) -> float:
        return 0.5 - by_period(config)

    first, second = Interrupted(value), SweepTrain(value)
    with pytest.raises(Stopped) as stopped:
        run(tmp_path, first)
    assert stopped.value.output == tmp_path
    assert (tmp_path / where).is_dir()
    result = run(tmp_path, second)
    assert second.calls[0] == at
    assert not set(first.calls) & set(second.calls)
    assert len(first.calls) + len(second.calls) == 9 + 6
    assert result["confirmation"]["pair"]["n"] == 3


def test_a_setting_of_which_a_run_failed_is_named_and_cannot_be_the_best(tmp_path: Path) -> None:
    def value(config: RunConfig) -> float:
        return 0.5 - by_period(config)

    result = run(tmp_path, SweepTrain(value, failing=frozenset({("controller.period=2", 1)})))
    assert result["best"] == "controller.period=3"
    assert result["arms"]["controller.period=2"]["failures"]["1"].startswith("RuntimeError: update 31: loss nan")
    assert any("controller.period=2, seed 1 failed" in str(part) for part in sweep_text(result))
    assert run(tmp_path, SweepTrain(value))["best"] == "controller.period=2"


def test_where_every_run_failed_there_is_nothing_to_choose_from(tmp_path: Path) -> None:
    failing = frozenset((label, seed) for label in LABELS for seed in range(3))
    result = run(tmp_path, SweepTrain(by_period, failing=failing))
    assert result["best"] is None
    assert result["headline"] == "Nothing to choose from: no setting has a result with every seed"
    assert result["effects"][0]["points"][0]["mean"] is None


def test_settings_of_the_training_are_swept_as_those_of_the_arm(tmp_path: Path) -> None:
    def value(config: RunConfig) -> float:
        return 0.3 + 100 * config.training.entropy.weight

    words = ["training.entropy={direction: diverse, weight: 0}", "training.entropy.weight=0,1e-4,1e-3"]
    result = run(tmp_path, SweepTrain(value), words)
    assert list(result["arms"]) == ["entropy.weight=0", "entropy.weight=0.0001", "entropy.weight=0.001"]
    assert result["best"] == "entropy.weight=0.001"
    assert result["confirmation"]["pair"]["kind"] == "better"
    confirmed = read_comparison(tmp_path / "confirmation")
    assert confirmed["arms"]["entropy.weight=0.001"]["varied"] == {"training.entropy.weight": 0.001}
    assert confirmed["arms"]["entropy.weight=0"]["varied"] == {}


def test_settings_with_test_examples_of_their_own_stand_beside_without_a_verdict(tmp_path: Path) -> None:
    train = SweepTrain(lambda config: config.task.length / 100)
    result = run(tmp_path, train, ("task.length=10,12,14",))
    assert len(train.calls) == 9
    assert result["pairs"] == []
    assert result["confirmation"] is None
    assert result["headline"] == "No verdict between settings: each has test examples of its own"
    assert result["normalised"]
    assert [arm["tested"] for arm in result["arms"].values()] == [True, False, False]
    assert "length=10, length=14" in result["lead"][0]
    (effect,) = result["effects"]
    assert [point["value"] for point in effect["points"]] == ["10", "12", "14"]


def test_settings_of_the_task_that_leave_its_test_examples_alone_are_compared(tmp_path: Path) -> None:
    """More training examples are the same question on the same test examples."""
    train = SweepTrain(lambda config: 0.3 + config.task.train_examples / 1e5)
    words = ("task.train_examples=100,5000",)
    result = run(tmp_path, train, words)
    assert not result["normalised"]
    assert result["best"] == "train_examples=5000"
    assert result["confirmation"]["pair"]["kind"] == "better"


def test_sizes_are_left_as_they_are_unless_parity_is_asked_for(tmp_path: Path) -> None:
    space = space_of("arm=baseline,looped,hrm")
    free = prepare(space, list(space.grid()), output=tmp_path / "free")
    matched = prepare(space, list(space.grid()), output=tmp_path / "matched", parity="parameters")
    assert len({config.model for config in free.arms.values()}) == 1
    assert free.plans[0].sized.matched == ()
    assert matched.plans[0].sized.matched == ("parameters",)
    assert list(tmp_path.iterdir()) == []


def test_the_table_has_a_row_for_each_run(finished: Path) -> None:
    rows = list(csv.DictReader((finished / "sweep.csv").read_text(encoding="utf-8").splitlines()))
    result = read_sweep(finished)
    assert [row["stage"] for row in rows] == ["search"] * 18 + ["confirmation"] * 6
    assert {row["setting"] for row in rows[18:]} == {result["base"], result["best"]}
    first = rows[0]
    assert (first["arm.controller.period"], first["arm.refinement.steps"]) == ("4", "6")
    assert float(first["value"]) == result["arms"][result["base"]]["values"][0]
    assert float(first["validation"]) == result["arms"][result["base"]]["validation"][0]


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Took:
        run = 10.0

    monkeypatch.setattr("headwise.lab.sweep.plan.seconds", lambda config, data, threads: Took())
    space = space_of(PERIOD)
    planned = prepare(space, list(space.grid()), 3, output=tmp_path / "here")
    plan = dry_run(planned, jobs=1)
    assert list(plan["settings"]) == LABELS
    assert plan["seconds"] == 9 * 10.0 + 3 * 2 * 10.0
    assert all((one["runs"], one["finished"]) == (3, 0) for one in plan["settings"].values())
    assert not (tmp_path / "here").exists()
    run(tmp_path / "here", SweepTrain(by_period), confirm=0)
    assert dry_run(prepare(space, list(space.grid()), 3, 0, output=tmp_path / "here"), jobs=1)["seconds"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((PERIOD, "training.updates=50"), r"holds runs of controller.period=4 with training.updates=40, now 50"),
        ((PERIOD, "task.length=10"), "holds runs of controller.period=4 with task.length=12, now 10"),
    ],
)
def test_other_settings_do_not_go_into_the_same_output(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    run(tmp_path, SweepTrain(by_period), confirm=0)
    train = SweepTrain(by_period)
    with pytest.raises(InputError, match=message):
        run(tmp_path, train, words)
    assert train.calls == []


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("comparison.json", "a comparison"),
        ("plan.json", "runs of a comparison or a ladder"),
        ("scaling.json", "a scaling"),
        ("control.json", "a control"),
        ("summary.json", "a run"),
    ],
)
def test_an_output_that_holds_other_work_is_refused_and_left_as_it_is(tmp_path: Path, file: str, kind: str) -> None:
    (tmp_path / file).write_text("{}")
    with pytest.raises(InputError, match=f"holds {kind} "):
        run(tmp_path, SweepTrain(by_period))
    assert [path.name for path in tmp_path.iterdir()] == [file]


@pytest.mark.parametrize("finished_or_begun", ["sweep.json", "search/plan.json"])
def test_a_comparison_does_not_go_into_a_sweep(tmp_path: Path, finished_or_begun: str) -> None:
    (tmp_path / finished_or_begun).parent.mkdir(exist_ok=True)
    (tmp_path / finished_or_begun).write_text("{}")
    with pytest.raises(InputError, match="holds a sweep"):
        compare([("baseline", run_config("baseline"))], output=tmp_path, train=FakeTrain(SCORES))


def test_the_result_is_what_stands_in_the_file(tmp_path: Path) -> None:
    space = space_of(PERIOD, STEPS)
    result = sweep(space, list(space.grid()), 2, output=tmp_path, jobs=1, train=SweepTrain(by_both))
    assert result == json.loads((tmp_path / "sweep.json").read_text()) == read_mapping(tmp_path / "sweep.json")
    assert result == read_sweep(tmp_path)
