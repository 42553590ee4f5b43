"""Runs of the task from the words of a command line to a summary, and on to larger mazes."""

from pathlib import Path
from typing import Any

import pytest

from headwise.errors import InputError
from headwise.tasks.maze.files import write
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.training.configuration import load
from headwise.training.evaluation import evaluate
from headwise.training.presets import CONF
from headwise.training.run import train

TINY = [
    "task=maze",
    "task.size=4",
    "task.train_mazes=40",
    "task.validation_mazes=16",
    "task.test_mazes=32",
    "model.width=16",
    "model.heads=4",
    "model.ffn=16",
    "training.updates=6",
    "training.batch_size=8",
    "training.validate_every=3",
    "training.loggers=[]",
    "device=cpu",
]
RELATIVE = ["task.positions=relative", "model.relative=2", "model.structural_heads=2", "arm=looped"]


def run(folder: Path, *words: str) -> Path:
    return train(load([*TINY, *words, f"output={folder}"]), progress=False)


def test_weights_of_small_mazes_are_scored_on_larger_ones_with_more_steps(tmp_path: Path) -> None:
    path = run(tmp_path, *RELATIVE, f"cache={tmp_path / 'cache'}")
    small = evaluate(path)
    large = evaluate(path, {"task.size": 7, "task.min_path_length": 12, "arm.refinement.steps": 9})
    for found in (small, large):
        assert found["floor"] < found["ceiling"] == 1.0
    assert large["refinement_steps_mean"] == 9
    assert set(small["metrics"]) >= {"optimal", "reached", "excess_length", "path_accuracy", "exact_grid"}
    assert set(small["references_by_metric"]) == {"optimal", "reached"}
    mazes = tmp_path / "mine.npz"
    write(mazes, generate(GeneratorConfig(size=5), 9, 0), {})
    assert evaluate(path, {"task.test_file": str(mazes), "task.test_mazes": 9, "task.size": 5})["test_examples"] == 9


def test_weights_that_know_rows_and_columns_are_not_taken_to_another_size(tmp_path: Path) -> None:
    path = run(tmp_path, "task.read_out=next_cell", "task.read_out.horizon=2")
    assert evaluate(path, {"task.family": "percolation"})["test_examples"] == 32
    with pytest.raises(InputError, match="trained on data with size=4, these have 5"):
        evaluate(path, {"task.size": 5})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.positions=relative"], "task.positions=relative: the backbone knows no offsets"),
        (["task.min_path_length=15", "task.family=spanning_tree"], "min_path_length=15: "),
        (["task.file=a (b).npz"], r"a \(b\).npz: not found"),
        (["training.warmup=1.5"], "warmup=1.5 is longer than the run"),
    ],
)
def test_what_is_refused_leaves_no_directory_behind(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        run(tmp_path, *words)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("segments", [1, 2])
def test_training_is_a_function_of_the_seed(tmp_path: Path, segments: int) -> None:
    """The symmetries of an epoch, too."""
    words = [*RELATIVE, f"arm.refinement.segments={segments}"]
    first, second = (evaluate(run(tmp_path, *words))["task_loss"] for _ in range(2))
    other = evaluate(run(tmp_path, *words, "task.symmetries=false"))["task_loss"]
    assert first == second != other


def test_the_shipped_settings_are_the_defaults() -> None:
    assert (CONF / "quick" / "maze.yaml").is_file()
    config: Any = load(["task=maze"]).task
    assert config == type(config)()
