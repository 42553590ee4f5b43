"""What a scaling says: advantages by hand, the benchmark's files by its schema, plots, page and tables."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from headwise.lab.report.scaling import figures, scaling_page
from headwise.lab.report.scaling_tables import advantage_sentences, scaling_text
from headwise.lab.report.write import write_report
from headwise.lab.scaling.export import benchmark_files, routed_arm
from headwise.lab.scaling.results import _advantages, summarise
from headwise.lab.scaling.scale import scale
from headwise.tasks import entry
from tests.lab.conftest import SCORES, FakeTrain, run_config


def arm(name: str, routed: bool, **metrics: list[float | None]) -> dict[str, Any]:
    router = {"name": "learned"} if routed else {"name": "none"}
    return {
        "model": {"width": 112 if routed else 128, "heads": 4, "ffn": 500 if routed else 512, "depth": 2},
        "arm": {
            "router": router,
            "controller": {"name": "hrm", "period": 2} if routed else {"name": "none"},
            "refinement": {"steps": 4 if routed else 1},
        },
        "parameters": 400_000,
        "examples": 51_200.0,
        "parameters_in_all": 530_000 if routed else 533_568,
        "metrics_by_seed": metrics,
    }


def maze(**sizes: Any) -> dict[str, Any]:
    return {
        "task": "maze",
        "task_config": {"size": 16},
        "training": {"updates": 1600, "batch_size": 32},
        "train_examples": 1000,
        "test_examples": 200,
        "how": {"device": "cpu"},
        "sizes": {size: {"seeds": [42, 43], "arms": arms} for size, arms in sizes.items()},
    }


TWO = {
    "baseline": arm("baseline", False, reached=[0.50, 0.60], optimal=[0.30, 0.40]),
    "hrm": arm("hrm", True, reached=[0.70, 0.80], optimal=[0.30, 0.50]),
}


def test_the_benchmarks_file_has_its_schema_and_percentages() -> None:
    files = benchmark_files(maze(tiny=TWO, small=TWO))
    assert list(files) == ["scaling_results_maze16.json"]
    content = files["scaling_results_maze16.json"]
    # 51 200 examples, 1600 batches of 32, are 51 times the 1000 mazes.
    assert content["config"] == {
        "maze_size": 16,
        "n_train": 1000,
        "n_test": 200,
        "epochs": 51,
        "R": 4,
        "T": 2,
        "seed": 42,
    }
    assert [row["size"] for row in content["results"]] == ["tiny", "small"]
    row = content["results"][0]
    # The names, in the order in which that benchmark's notebook lists them.
    assert list(row) == [
        "size",
        "baseline_d_model",
        "baseline_n_heads",
        "baseline_d_ff",
        "baseline_depth",
        "poh_d_model",
        "poh_n_heads",
        "poh_depth",
        "baseline_params",
        "baseline_acc",
        "baseline_opt",
        "poh_params",
        "poh_acc",
        "poh_opt",
        "param_ratio",
        "poh_advantage_acc",
        "poh_advantage_opt",
    ]
    assert (row["baseline_d_model"], row["poh_d_model"], row["baseline_params"]) == (128, 112, 533_568)
    assert (row["baseline_acc"], row["baseline_opt"]) == pytest.approx((55, 35))
    assert (row["poh_acc"], row["poh_opt"]) == pytest.approx((75, 40))
    assert (row["poh_advantage_acc"], row["poh_advantage_opt"]) == pytest.approx((20, 5))
    assert row["param_ratio"] == pytest.approx(99.33, abs=0.01)


def test_the_huge_size_has_a_file_of_its_own_with_a_ratio_that_is_a_fraction() -> None:
    content = benchmark_files(maze(huge=TWO))["huge_benchmark_maze16.json"]
    assert list(content) == ["config", "baseline", "poh"]
    assert list(content["config"]) == [
        *("maze_size", "n_train", "n_test", "epochs", "batch_size", "R", "T"),
        *("device", "d_model", "n_heads", "d_ff", "depth"),
    ]
    assert list(content["baseline"]) == ["params", "accuracy", "optimality"]
    assert list(content["poh"]) == ["params", "depth", "accuracy", "optimality", "param_ratio"]
    assert content["poh"]["param_ratio"] == pytest.approx(0.9933, abs=1e-4)
    assert content["baseline"]["accuracy"] == pytest.approx(55)


def test_epochs_are_those_of_the_routed_arm_whatever_its_updates_per_batch() -> None:
    # With four segments a batch serves four updates: 1600 updates see a quarter of the examples.
    segments = TWO | {"hrm": TWO["hrm"] | {"examples": 12_800.0}}
    stopped = TWO | {"hrm": TWO["hrm"] | {"examples": 6_400.0}}
    files = benchmark_files(maze(tiny=segments, huge=stopped))
    assert files["scaling_results_maze16.json"]["config"]["epochs"] == 13
    assert files["huge_benchmark_maze16.json"]["config"]["epochs"] == 6


@pytest.mark.parametrize(
    "missing",
    [
        {"baseline": TWO["baseline"]},
        {"baseline": TWO["baseline"], "hrm": arm("hrm", True, optimal=[0.5, 0.5])},
        {"baseline": TWO["baseline"], "hrm": arm("hrm", True, reached=[None, None], optimal=[None, None])},
    ],
)
def test_without_both_metrics_of_two_arms_there_is_no_such_file(missing: dict[str, Any]) -> None:
    assert benchmark_files(maze(tiny=missing)) == {}
    assert [
        row["size"] for row in benchmark_files(maze(tiny=missing, small=TWO))["scaling_results_maze16.json"]["results"]
    ] == ["small"]


def test_other_tasks_have_no_such_file() -> None:
    assert benchmark_files(maze(tiny=TWO) | {"task": "sorting"}) == {}


def test_the_routed_arm_is_the_one_with_a_router_wherever_it_stands() -> None:
    looped = arm("looped", False)
    assert routed_arm({"baseline": TWO["baseline"], "looped": looped, "hrm": TWO["hrm"]}) == "hrm"
    assert routed_arm({"baseline": TWO["baseline"], "looped": looped}) == "looped"


# Advantages


def sizes(**arms: dict[str, list[float | None]]) -> dict[str, Any]:
    return {
        size: {"arms": {label: {"metrics_by_seed": {"score": values}} for label, values in own.items()}}
        for size, own in arms.items()
    }


def test_the_advantage_is_paired_averaged_over_sizes_and_best_where_it_is_largest() -> None:
    found = _advantages(
        sizes(
            tiny={"baseline": [0.5, 0.6, 0.7], "hrm": [0.6, 0.7, None]},
            small={"baseline": [0.5, 0.5, 0.5], "hrm": [0.8, 0.8, 0.8]},
        ),
        "score",
        higher=True,
    )["hrm"]
    assert found["over"] == "baseline"
    # The third seed of tiny has no partner, so it does not count: not 0.65 - 0.60.
    assert found["by_size"]["tiny"]["advantage"] == pytest.approx(0.1)
    assert found["by_size"]["tiny"]["seeds"] == 2
    assert found["average"] == pytest.approx(0.2)
    assert found["best_size"] == "small"


def test_where_lower_is_better_a_lower_value_is_an_advantage() -> None:
    losses = sizes(tiny={"baseline": [2.0], "hrm": [1.5]})
    assert _advantages(losses, "score", higher=False)["hrm"]["average"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("task", "metric", "second", "advantage"),
    [
        ("maze", "optimal", "reached", -0.5),
        ("maze", "optimal", "excess_length", 0.5),
        ("maze", "optimal", "excess_length_each_step", 0.5),
        ("language", "loss", "bits_per_character", 0.5),
        ("language", "loss", "accuracy", -0.5),
        ("parsing", "las", "uas", -0.5),
        ("sorting", "rank_tau", "perfect", -0.5),
    ],
)
def test_the_task_says_in_which_direction_its_second_metric_is_better(
    tmp_path: Path, comparison: Path, task: str, metric: str, second: str, advantage: float
) -> None:
    like = json.loads((comparison / "comparison.json").read_text())
    arms = {"baseline": {metric: 1.0, second: 2.0}, "hrm": {metric: 1.0, second: 1.5}}
    write_size(tmp_path / "tiny", like, task, metric, arms)
    found = summarise(tmp_path, second)["advantage"]
    assert found[second]["hrm"]["average"] == pytest.approx(advantage)
    assert found[metric]["hrm"]["average"] == 0


def write_size(
    directory: Path, like: dict[str, Any], task: str, metric: str, arms: dict[str, dict[str, float]]
) -> None:
    """A finished size with one seed, as far as its numbers are looked at; the rest is that of another comparison."""
    for label, metrics in arms.items():
        run = directory / "runs" / label / "seed0"
        run.mkdir(parents=True)
        (run / "summary.json").write_text(json.dumps({"metrics": metrics}))
    higher = entry(task).task.higher_is_better
    own = {"task": task, "metric": metric, "higher_is_better": higher, "headline": "", "seeds": [0], "pairs": []}
    arm = next(iter(like["arms"].values()))
    (directory / "comparison.json").write_text(json.dumps(like | own | {"arms": dict.fromkeys(arms, arm)}))


# The page, the plots, the tables


@pytest.fixture(scope="module")
def scaling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("scaling")
    arms = [(name, run_config(name)) for name in ("baseline", "looped", "hrm")]
    scale(arms, ["tiny", "small"], 3, output=directory, jobs=1, train=FakeTrain(SCORES))
    write_report(directory)
    return directory


def test_the_page_holds_every_size_and_arm_and_needs_nothing_from_outside(scaling: Path) -> None:
    page = (scaling / "report.html").read_text(encoding="utf-8")
    for word in ("tiny", "small", "baseline", "looped", "hrm", "Against parameters", "Advantage at each size"):
        assert word in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (scaling / "tiny" / "report.html").is_file()
    assert write_report(scaling) == scaling / "report.html"


def test_there_are_two_plots_against_parameters_and_two_of_advantages(scaling: Path) -> None:
    result = json.loads((scaling / "scaling.json").read_text())
    drawn = figures(result)
    against, ahead = drawn["parameters"].axes, drawn["advantages"].axes
    assert [axis.get_xscale() for axis in against] == ["log", "log"]
    assert [axis.get_ylabel() for axis in against] == ["rank tau", "rank tau visible"]
    counts = sorted(content["arms"]["baseline"]["parameters"] for content in result["sizes"].values())
    assert list(against[0].lines[0].get_xdata()) == pytest.approx(counts, rel=0.05)  # drawn a little aside
    heights = [bar.get_height() for bar in ahead[0].patches]
    by_size = result["advantage"]["rank_tau"]["hrm"]["by_size"]
    assert heights[2:] == pytest.approx([by_size["tiny"]["advantage"], by_size["small"]["advantage"]])


def test_names_leave_out_what_arms_share_and_it_is_told_once(scaling: Path) -> None:
    text = (scaling / "scaling.json").read_text()
    for name in ("baseline", "hrm"):
        label = f"{name}:refinement.steps=5"
        text = text.replace(f'"{name}"', f'"{label}"').replace(f'"name": "{label}"', f'"name": "{name}"')
    result = json.loads(text)
    shown = "\n".join(str(getattr(part, "plain", part)) for part in scaling_text(result))
    shared = "Names leave out what arms share: refinement.steps=5 in baseline and hrm."
    assert shown.count(shared) == 1
    assert "advantage of hrm over baseline" in shown
    page = scaling_page(scaling, result)
    assert page.title == "sorting: baseline, looped and hrm at tiny and small"
    assert page.task.count(shared) == 1


def test_the_terminal_shows_the_table_verdicts_average_advantage_and_best_size(scaling: Path) -> None:
    result = json.loads((scaling / "scaling.json").read_text())
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as capture:
        for part in scaling_text(result):
            console.print(part)
    shown = capture.get()
    assert "396" in shown
    assert "1.000" in shown
    assert result["sizes"]["small"]["pairs"][0]["kind"] in shown
    for line in advantage_sentences(result):
        assert line.split(";")[0] in shown
    assert any("best at" in line for line in advantage_sentences(result))


def test_a_damaged_scaling_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "scaling.json").write_text('{"task": "maze"}')
    with pytest.raises(ValueError, match=r"damaged: .*; run `headwise scale` again"):
        write_report(tmp_path)


def test_the_interval_of_the_primary_metric_is_that_of_the_verdict() -> None:
    losses = sizes(tiny={"baseline": [2.0, 2.1, 2.2], "hrm": [1.5, 1.6, 1.7]})
    pair = {"a": "hrm", "b": "baseline", "interval": [-0.7, -0.3]}
    content = {size: one | {"pairs": [pair]} for size, one in losses.items()}
    found = _advantages(content, "score", higher=False, primary="score")["hrm"]["by_size"]["tiny"]
    assert found["interval"] == (0.3, 0.7)


def test_with_one_size_there_is_no_average_and_no_best() -> None:
    arm = {"over": "baseline", "by_size": {"tiny": {"advantage": 0.5}}, "average": 0.5, "best_size": "tiny"}
    (said,) = advantage_sentences({"advantage": {"rank_tau": {"hrm": arm}}})
    assert said == "rank tau: advantage of hrm over baseline +0.5000 at tiny"
