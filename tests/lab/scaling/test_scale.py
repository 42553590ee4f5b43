"""Scalings with a stand-in for training: matched at every size, resumable by run."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError
from headwise.files import read_mapping
from headwise.lab.comparison.parity import TOLERANCE, measure
from headwise.lab.comparison.slurm import Slurm
from headwise.lab.report.scaling import figures, scaling_page
from headwise.lab.report.scaling_tables import scaling_text
from headwise.lab.scaling.plan import dry_run
from headwise.lab.scaling.scale import scale
from headwise.models.sizes import SIZES
from headwise.schema import build
from headwise.training.config import RunConfig, TrainingConfig
from tests.lab.conftest import MODEL, SCORES, FakeTrain, arm, run_config
from tests.lab.scaling.conftest import ARMS, SizedTrain, run

pytestmark = pytest.mark.usefixtures("quick_looks")


def test_every_arm_meets_every_size_and_seed_once(tmp_path: Path) -> None:
    train = SizedTrain()
    run(tmp_path, train, seeds=2)
    expected = [(s, a, k, "new") for s in ("tiny", "small") for k in (0, 1) for a in ("baseline", "hrm")]
    assert train.calls == expected
    assert (tmp_path / "small" / "runs" / "hrm" / "seed1" / "summary.json").is_file()


@pytest.mark.parametrize("parity", ["width", "depth"])
def test_at_each_size_the_first_arm_has_its_shape_and_the_others_its_parameters(tmp_path: Path, parity: Any) -> None:
    result = run(tmp_path, SizedTrain(), parity=parity)
    for size, content in result["sizes"].items():
        baseline, hrm = content["arms"]["baseline"], content["arms"]["hrm"]
        assert {key: baseline["model"][key] for key in ("width", "heads", "ffn", "depth")} == {
            key: getattr(SIZES[size], key) for key in ("width", "heads", "ffn", "depth")
        }
        assert abs(hrm["parameters"] / baseline["parameters"] - 1) <= TOLERANCE
        assert (hrm["model"]["width"] < SIZES[size].width) == (parity == "width")
        saved = read_mapping(tmp_path / size / "runs" / "hrm" / "seed0" / "config.yaml")
        assert saved["model"] == hrm["model"]
        assert measure(RunConfig.from_plain(saved).model, run_config("hrm").arm, 12).parameters == hrm["parameters"]


def test_a_scaling_that_was_killed_after_its_first_run_trains_only_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SizedTrain(stopping=("tiny", "hrm", 0)))
    assert not (tmp_path / "scaling.json").exists()
    train = SizedTrain()
    result = run(tmp_path, train)
    assert train.calls == [("tiny", "hrm", 0, "resume"), ("small", "baseline", 0, "new"), ("small", "hrm", 0, "new")]
    assert list(result["sizes"]) == ["tiny", "small"]
    train.calls.clear()
    run(tmp_path, train)
    assert train.calls == []


def test_an_interrupt_leaves_the_sizes_that_are_whole_with_their_results(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SizedTrain(stopping=("small", "baseline", 0)))
    assert list(read_mapping(tmp_path / "scaling.json")["sizes"]) == ["tiny"]


# The package's own imports warn, and its jobs' processes are left to the interpreter's end.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.clusters
def test_a_scaling_of_jobs_gives_what_one_here_gives(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is an extra; pip install -e '.[dev]' brings it")
    train = FakeTrain(SCORES, failing=frozenset({("hrm", 0)}))
    here = run(tmp_path / "here", train)
    jobs = run(tmp_path / "jobs", train, launcher=Slurm(cluster="local"), jobs=None)
    assert jobs["how"]["launcher"]["cluster"] == "local"
    assert jobs["sizes"].keys() == {"tiny", "small"}
    for size in jobs["sizes"]:
        for result in (here, jobs):
            assert result["sizes"][size]["arms"]["hrm"]["failures"].keys() == {"0"}
        baseline = [result["sizes"][size]["arms"]["baseline"] for result in (here, jobs)]
        assert baseline[0]["values"] == baseline[1]["values"] == SCORES["baseline"][:1]
    assert {file.relative_to(tmp_path / "here") for file in (tmp_path / "here").rglob("*")} <= {
        file.relative_to(tmp_path / "jobs") for file in (tmp_path / "jobs").rglob("*")
    }


def test_sizes_and_seeds_may_be_added_and_what_was_there_stays_in_the_result(tmp_path: Path) -> None:
    run(tmp_path, SizedTrain(), sizes=["small"], seeds=2)
    train = SizedTrain()
    result = run(tmp_path, train, sizes=["tiny"])
    assert {size for size, *_ in train.calls} == {"tiny"}
    assert {size: content["seeds"] for size, content in result["sizes"].items()} == {"tiny": [0], "small": [0, 1]}


def test_another_recipe_does_not_mix_with_what_is_there(tmp_path: Path) -> None:
    run(tmp_path, SizedTrain(), sizes=["tiny"])
    arms = [(name, run_config(name, training=TrainingConfig(updates=80))) for name in ("baseline", "hrm")]
    with pytest.raises(InputError, match=r"holds tiny with training\.updates=40, now 80; choose another output"):
        scale(arms, ["small"], output=tmp_path, jobs=1, train=SizedTrain())
    with pytest.raises(InputError, match=r"holds tiny with parity=parameters, now depth; choose another output"):
        run(tmp_path, SizedTrain(), sizes=["tiny"], parity="depth")


def steps(count: int) -> Any:
    """The hrm arm with so many refinement steps, under the same label."""
    loop = {"steps": count, "injection": "input", "supervision": "uniform"}
    return run_config("hrm", arm=arm("hrm", refinement=loop))


def preset(name: str) -> Any:
    return run_config("hrm", training=build(TrainingConfig, {"updates": 40, "preset": {"name": name}}, "training"))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (steps(8), r"holds hrm at tiny with arm\.refinement\.steps=6, now 8"),
        (preset("stable"), r"holds hrm at tiny with training\.preset\.\w+=.*, now "),
        (
            run_config("hrm", model=replace(MODEL, dropout=0.1)),
            r"hrm at tiny with model\.dropout=0\.0, now 0\.1",
        ),
    ],
)
def test_a_label_stands_for_one_arm_at_every_size(tmp_path: Path, other: Any, message: str) -> None:
    run(tmp_path, SizedTrain(), sizes=["tiny"])
    train = SizedTrain()
    arms = [("baseline", run_config("baseline")), ("hrm", other)]
    with pytest.raises(InputError, match=f"{message}.*; choose another output"):
        scale(arms, ["small"], output=tmp_path, jobs=1, train=train)
    with pytest.raises(InputError, match=message):
        dry_run(arms, ["small"], output=tmp_path)
    assert train.calls == []
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parity": "depth"}, "holds tiny with parity=parameters, now depth"),
        ({"names": ("hrm", "baseline")}, "holds tiny with first arm=baseline, now hrm"),
    ],
)
def test_arms_are_matched_alike_at_every_size(tmp_path: Path, settings: Any, message: str) -> None:
    run(tmp_path, SizedTrain(), sizes=["tiny"])
    train = SizedTrain()
    with pytest.raises(InputError, match=message):
        run(tmp_path, train, sizes=["small"], **settings)
    assert train.calls == []
    assert not (tmp_path / "small").exists()


def test_an_arm_with_learning_rates_of_its_own_has_them_at_every_size(tmp_path: Path) -> None:
    arms = [("baseline", run_config("baseline")), ("hrm", preset("stable"))]
    for size in ("tiny", "small"):
        result = scale(arms, [size], output=tmp_path, jobs=1, train=SizedTrain())
    assert list(result["sizes"]) == ["tiny", "small"]


def test_a_failed_run_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    result = run(tmp_path, SizedTrain(failing=frozenset({("hrm", 0)})))
    for content in result["sizes"].values():
        assert "loss nan" in content["arms"]["hrm"]["failures"]["0"]
        assert content["arms"]["baseline"]["values"] == SCORES["baseline"][:1]


def test_the_result_has_values_costs_and_a_verdict_for_each_size(tmp_path: Path) -> None:
    result = run(tmp_path, SizedTrain(), seeds=3)
    assert (result["task"], result["metric"], result["metrics"]) == (
        "sorting",
        "rank_tau",
        ["rank_tau", "rank_tau_visible"],
    )
    for content in result["sizes"].values():
        hrm = content["arms"]["hrm"]
        assert hrm["values"] == hrm["metrics_by_seed"]["rank_tau"] == SCORES["hrm"][:3]
        assert hrm["train_seconds_by_seed"] == [10.0] * 3
        assert hrm["peak_memory"] is None or hrm["peak_memory"] > 50e6  # a process with torch in it
        assert {"parameters", "parameters_in_all", "flops_per_example", "parameter_ratio", "interval"} <= hrm.keys()
        assert [pair["verdict"] for pair in content["pairs"]]
        assert content["headline"] in result["headline"]
    comparison = read_mapping(tmp_path / "tiny" / "comparison.json")
    assert comparison["arms"]["hrm"]["mean"] == result["sizes"]["tiny"]["arms"]["hrm"]["mean"]


def test_another_second_metric_may_be_asked_for(tmp_path: Path) -> None:
    assert run(tmp_path, SizedTrain(), second="perfect")["metrics"] == ["rank_tau", "perfect"]


def test_a_second_metric_that_runs_in_the_output_measured_may_be_asked_for(tmp_path: Path) -> None:
    run(tmp_path, SizedTrain())
    summary = tmp_path / "tiny" / "runs" / "hrm" / "seed0" / "summary.json"
    content = read_mapping(summary)
    summary.write_text(json.dumps(content | {"metrics": content["metrics"] | {"of_the_analysis": 0.5}}))
    train = SizedTrain()
    assert run(tmp_path, train, second="of_the_analysis")["metrics"] == ["rank_tau", "of_the_analysis"]
    assert train.calls == []


@pytest.mark.parametrize(
    ("second", "reason"), [("speed", "not measured"), ("rank_tau", "the primary metric, which is shown anyway")]
)
def test_a_second_metric_that_there_is_not_is_refused_before_training(tmp_path: Path, second: str, reason: str) -> None:
    train = SizedTrain()
    message = f"second={second}: {reason}; choose one of rank_tau_visible, .*perfect"
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", train, second=second)
    with pytest.raises(InputError, match=message):
        dry_run(ARMS, ["tiny"], output=tmp_path / "out", second=second)
    assert train.calls == []
    assert not (tmp_path / "out").exists()


def test_a_second_metric_does_not_hide_an_interrupt_before_the_first_size_is_whole(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, SizedTrain(stopping=("tiny", "baseline", 0)), second="perfect")


def test_a_second_metric_does_not_hide_that_every_run_failed(tmp_path: Path) -> None:
    failing = frozenset({("baseline", 0), ("hrm", 0)})
    result = run(tmp_path, SizedTrain(failing=failing), second="perfect")
    found = {arm["failures"]["0"] for size in result["sizes"].values() for arm in size["arms"].values()}
    assert all("loss nan" in failure for failure in found)
    assert figures(result) == {}
    assert scaling_page(tmp_path, result).failures
    assert scaling_text(result)


def test_the_csv_has_one_row_for_each_run(tmp_path: Path) -> None:
    run(tmp_path, SizedTrain(), seeds=2)
    with (tmp_path / "scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["size"], row["arm"], row["seed"]) for row in rows[:3]] == [
        ("tiny", "baseline", "0"),
        ("tiny", "baseline", "1"),
        ("tiny", "hrm", "0"),
    ]
    assert len(rows) == 8
    assert float(rows[2]["rank_tau"]) == SCORES["hrm"][0]
    assert float(rows[2]["train_seconds"]) == 10
