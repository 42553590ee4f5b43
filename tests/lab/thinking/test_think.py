"""A run that thinks longer: what is measured, kept and refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headwise.errors import InputError
from headwise.files import read_mapping
from headwise.lab.thinking import think as study
from headwise.lab.thinking.convergence import summary
from headwise.lab.thinking.measure import Followed
from headwise.lab.thinking.think import think
from headwise.models.backbone import Backbone
from headwise.training.evaluation import evaluate


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of restarts that were really measured."""
    seeds: list[int] = []
    real: Callable[..., Any] = study.restarted

    def counted(config: Any, model: Any, source: Any, seed: int) -> Any:
        seeds.append(seed)
        return real(config, model, source, seed)

    monkeypatch.setattr(study, "restarted", counted)
    return seeds


def test_one_restart_of_the_steps_trained_is_what_the_run_scored_and_more_what_evaluate_scores(
    maze: Path, tmp_path: Path
) -> None:
    result = think(maze, ["1x", 4], 1, output=tmp_path / "out")
    once, twice = result["points"]
    assert once["random"] == read_mapping(maze / "summary.json")["value"]
    longer = evaluate(maze, {"arm.refinement.steps": 4})
    assert (twice["random"], twice["flops"]) == (longer["value"], longer["flops_per_example"])
    assert once["selected"] == dict.fromkeys(["residual", "majority", "valid"], once["random"])


def test_segments_are_added_and_noise_comes_once_in_one_as_long_as_in_training(streams: Path, tmp_path: Path) -> None:
    result = think(streams, "2x", 2, 0.1, "segment", output=tmp_path / "out")
    assert (result["noise"], result["noise_every"]) == (0.1, 4)
    assert [point["steps"] for point in result["points"]] == [16]
    more = evaluate(streams, {"arm.refinement.segments": 4})
    assert result["points"][0]["flops"] == 2 * more["flops_per_example"]
    assert result["study"]["step"] == [2, 4, 6, 8, 10, 12, 14, 16]


def test_a_selection_is_no_better_than_the_best_of_all_on_any_metric(maze: Path, tmp_path: Path) -> None:
    result = think(maze, ["1x", "4x"], [1, 6], output=tmp_path / "out")
    for point in result["points"]:
        for name, values in point["metrics"].items():
            worse = name == "excess_length"
            own = [value for value in values.values() if value is not None]
            assert (min(own) if worse else max(own)) == values["best"]
        assert point["random"] <= point["best"]
    assert result["points"][1]["best"] > result["points"][1]["random"]


def test_what_was_measured_is_kept_and_restarts_steps_and_rules_are_added(
    maze: Path, tmp_path: Path, measured: list[int]
) -> None:
    output = tmp_path / "out"
    think(maze, "1x", 2, select="residual", output=output)
    assert measured == [0, 1]
    more = think(maze, ["1x", "2x"], [1, 3], output=output)
    assert measured == [0, 1, 2, 0, 1, 2]
    again = think(maze, ["1x", "2x"], [1, 3], output=output)
    assert len(measured) == 6
    assert {k: v for k, v in again.items() if k != "how"} == {k: v for k, v in more.items() if k != "how"}
    fresh = think(maze, ["1x", "2x"], [1, 3], output=tmp_path / "fresh")
    assert fresh["points"] == again["points"]
    (output / "measured/steps2/restart1.npz").write_bytes(b"damaged")
    assert think(maze, ["1x", "2x"], [1, 3], output=output)["points"] == again["points"]
    assert measured[-1] == 1


def test_another_noise_or_other_settings_want_another_output(maze: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    think(maze, "1x", 1, output=output)
    with pytest.raises(InputError, match=r"measured with noise 0\.0, now 0\.1; choose another output"):
        think(maze, "1x", 1, 0.1, output=output)
    with pytest.raises(InputError, match="measured with settings"):
        think(maze, "1x", 1, output=output, settings={"task.test_mazes": 8})


def test_a_task_without_a_check_has_no_such_selection_by_default_and_noise_alone_makes_restarts(
    walk: Path, tmp_path: Path
) -> None:
    result = think(walk, "1x", 2, noise=0.2, output=tmp_path / "out")
    assert result["rules"] == ["residual", "majority"]
    assert [point["restarts"] for point in think(walk, "1x", output=tmp_path / "plain")["points"]] == [1]


def test_a_halting_that_says_how_sure_it_is_can_select(
    maze: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stub: it is surest of the restart whose state moved most."""
    real = Backbone.forward

    def sure(self: Backbone, *args: Any, **more: Any) -> Any:
        trace = replace(real(self, *args, **more))
        moved = torch.zeros(len(trace.steps)) if trace.residuals is None else trace.residuals[-1]
        object.__setattr__(trace, "halting", moved)
        return trace

    monkeypatch.setattr(Backbone, "forward", sure)
    result = think(maze, "1x", 5, output=tmp_path / "out")
    assert result["rules"] == ["residual", "halting", "majority", "valid"]
    files = [np.load(file) for file in sorted((tmp_path / "out/measured/steps2").glob("*.npz"))]
    moved = np.stack([file["residual"] for file in files])
    right = np.stack([file["metric optimal"] for file in files])
    for rule, which in (("halting", moved.argmax(0)), ("residual", moved.argmin(0))):
        assert result["points"][0]["selected"][rule] == right[which, np.arange(right.shape[1])].mean()


def seen(residual: list[float], right: list[list[int]]) -> Followed:
    value = np.array(right, dtype=float)
    moved = np.array(residual)[:, None].repeat(value.shape[1], 1)
    return Followed(list(range(1, len(residual) + 1)), moved, value, value.astype(np.int64))


def test_what_was_right_earlier_and_is_wrong_now_is_overthought() -> None:
    found = summary(seen([0.5, 0.2, 0.1], [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0]]), 1.0, 2)
    assert found["right"] == [0.25, 0.5, 0.5]
    assert found["overthought"] == [0, 0, 0.25]
    assert found["changed"] == [None, 0.25, 0.5]
    settling, right, over = found["sentences"]
    assert settling == (
        "It is still settling: the last step moves the state by 10 % of its length, step 2 moved it by 20 %; 50 % of "
        "the answers still change there."
    )
    assert right == "Right are 50 % after 2 steps, 50 % after 3."
    assert over.startswith("It overthinks: 25 %")
    assert "75 % right" in over


@pytest.mark.parametrize(
    ("residual", "verdict"), [([0.5, 0.2, 0.009], "It converges"), ([0.5, 0.2, 0.19], "It wanders")]
)
def test_it_converges_where_nothing_moves_and_wanders_where_it_moves_as_before(
    residual: list[float], verdict: str
) -> None:
    sentences = summary(seen(residual, [[1, 0], [1, 1], [1, 1]]), 1.0, 2)["sentences"]
    assert sentences[0].startswith(verdict)
    assert sentences[2].startswith("It does not overthink")
