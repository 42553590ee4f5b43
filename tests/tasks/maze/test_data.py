"""Splits of generated and of given mazes, what is kept, what is refused, and the references."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headwise.errors import InputError
from headwise.schema import build, to_plain
from headwise.tasks.maze import MazeConfig, MazeData, data, files
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import Mazes, opposite
from headwise.tasks.proportions import proportion

SMALL = {"size": 4, "train_mazes": 30, "validation_mazes": 20, "test_mazes": 25}


def config(**changes: Any) -> MazeConfig:
    return build(MazeConfig, SMALL | changes, "task")


def keys(mazes: Mazes) -> set[bytes]:
    return set(data._keys(mazes))


def stored(folder: Path, number: int = 100, size: int = 4, split: str = "train") -> str:
    path = folder / f"{split}-{number}-{size}.npz"
    files.write(path, generate(GeneratorConfig(size=size), number, 0, split), {})
    return str(path)


def all_splits(given: MazeConfig) -> dict[str, Mazes]:
    found = MazeData(given, 0)
    return {name: found.split(name).mazes for name in ("train", "validation", "test")}


def test_splits_have_the_numbers_asked_for_and_share_no_maze() -> None:
    found = all_splits(config(min_path_length=5))
    assert [len(mazes) for mazes in found.values()] == [30, 20, 25]
    assert len(set().union(*map(keys, found.values()))) == 75
    assert min(mazes.length.min() for mazes in found.values()) >= 5
    again, other = all_splits(config(min_path_length=5)), MazeData(config(min_path_length=5), 1)
    assert all(np.array_equal(found[name].open, again[name].open) for name in found)
    assert keys(other.split("train").mazes) != keys(found["train"])


def test_symmetries_are_for_training_alone() -> None:
    source = MazeData(config(), 0).split("train")
    assert torch.cat(source.plan(8, 0, 0, shuffle=True)).max() >= len(source)
    for name, changes in (("train", {"symmetries": False}), ("validation", {}), ("test", {})):
        source = MazeData(config(**changes), 0).split(name)
        assert torch.cat(source.plan(8, 0, 0, shuffle=True)).max() < len(source)


def test_generated_mazes_are_kept_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = MazeData(config(), 0, tmp_path).split("train").mazes
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(data, "generate", lambda *_: pytest.fail("generated twice"))
    second = MazeData(config(train_mazes=30), 0, tmp_path).split("train").mazes
    assert all(np.array_equal(getattr(first, key), getattr(second, key)) for key in ("open", "start", "goal", "path"))
    for changed, seed in ((config(train_mazes=31), 0), (config(), 1), (config(family="spanning_tree"), 0)):
        with pytest.raises(pytest.fail.Exception):
            MazeData(changed, seed, tmp_path).split("train")


def test_a_damaged_file_in_the_cache_is_replaced(tmp_path: Path) -> None:
    first = MazeData(config(), 0, tmp_path).split("test").mazes
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert keys(MazeData(config(), 0, tmp_path).split("test").mazes) == keys(first)
    assert len(files.read(path)[0]) == 25


def test_a_file_is_divided_from_its_end_and_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    path = tmp_path / "repeats.npz"
    mazes = generate(GeneratorConfig(size=4), 80, 0)
    repeated = Mazes.join([mazes[70:80], mazes])  # ten test mazes at its beginning, too
    files.write(path, repeated, {})
    found = all_splits(config(file=str(path)))
    assert keys(found["test"]) == keys(mazes[55:])
    assert keys(found["validation"]) == keys(mazes[35:55])
    assert keys(found["train"]) == keys(mazes[:30])
    with pytest.raises(InputError, match=r"task.train_mazes=36: .*repeats.npz has 35 that are not held out; choose at"):
        MazeData(config(file=str(path), train_mazes=36), 0).split("train")
    with pytest.raises(InputError, match=r"90 mazes, of which task.test_mazes=80 and task.validation_mazes=20 leave"):
        MazeData(config(file=str(path), test_mazes=80), 0).split("train")
    assert len(MazeData(config(file=str(path), test_mazes=80), 0).split("test")) == 80


@pytest.mark.parametrize("way_out", [{"min_path_length": 1}, {"file": None, "test_file": "the file"}])
def test_what_the_refusal_of_a_file_names_goes_on(tmp_path: Path, way_out: dict[str, Any]) -> None:
    """A run on generated mazes of a least length, scored on a file: its own settings cannot be left out."""
    path = stored(tmp_path)
    given = {"min_path_length": 5, "file": path} | way_out
    given = {key: path if value == "the file" else value for key, value in given.items()}
    assert keys(MazeData(config(**given), 0).split("test").mazes) < keys(files.read(Path(path))[0])


def test_a_test_file_of_its_own_is_used_whole_and_its_mazes_are_not_trained_on(tmp_path: Path) -> None:
    test, train = stored(tmp_path, 25, split="test"), stored(tmp_path)
    found = all_splits(config(test_file=test, file=train))
    assert [len(mazes) for mazes in found.values()] == [30, 20, 25]
    assert keys(found["validation"]) == keys(files.read(Path(train))[0][80:])
    # A file of what would have been generated for training
    found = all_splits(config(test_file=train, test_mazes=40))
    assert [len(mazes) for mazes in found.values()] == [30, 20, 40]
    assert not keys(found["train"]) & keys(found["test"])


@pytest.mark.parametrize("name", ["hard.csv", "HARD.CSV"])
def test_tables_in_the_layout_of_maze_hard_are_read(tmp_path: Path, name: str) -> None:
    rows = ["source,question,answer,rating"]
    for goal in range(1, 16):
        text = "S" + " " * (goal - 1) + "G" + " " * (15 - goal)
        way = [*range(0, goal // 4 * 4 + 1, 4), *range(goal // 4 * 4, goal + 1)]
        rows.append(f"x,{text},{''.join('o' if i in way[1:] and text[i] == ' ' else text[i] for i in range(16))},1")
    path = tmp_path / name
    path.write_text("\n".join(rows) + "\n")
    given = config(file=str(path), train_mazes=9, validation_mazes=3, test_mazes=3)
    source = MazeData(given, 0).split("train")
    assert len(source) == 9
    assert source.batch(torch.arange(9))["open"].sum().item() == 9 * 48


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 1}, r"size=1: choose 2\.\.64"),
        ({"min_path_length": 16}, r"min_path_length=16: choose 1\.\.15"),
        ({"loops": 0.1}, "loops=0.1: family=depth_first has none"),
        ({"train_mazes": 0}, "task.train_mazes=0: choose 1 or more"),
        ({"test_mazes": -1}, "task.test_mazes=-1: choose 1 or more"),
        ({"read_out": {"name": "next_cell", "horizon": 16}}, r"task.read_out.horizon=16: no path .*choose 1\.\.15"),
        ({"read_out": {"name": "grid", "horizon": 2}}, "task.read_out.horizon=2: unknown key"),
        ({"read_out": "path"}, "task.read_out.name=path: unknown; allowed: grid, next_cell"),
        ({"positions": "learned"}, "task.positions=learned: choose one of absolute, relative, none"),
        ({"encoder": {"name": "cnn", "layers": 0}}, "layers=0: choose 1"),
        ({"encoder": {"name": "cnn", "local": False, "summary": False}}, "nothing would be read"),
        (
            {"file": "x.npz", "min_path_length": 3},
            "task.min_path_length=3: is about generated mazes, .* choose task.min_path_length=1, or, .* task.test_file",
        ),
        (
            {"file": "x.npz", "family": "percolation", "loops": 0.2},
            "task.family=percolation task.loops=0.2: .* choose task.family=depth_first task.loops=null, or",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        config(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"min_path_length": 15, "family": "spanning_tree"},
            r"min_path_length=15: .* of \d+ mazes .*%\); choose 1\.\.",
        ),
        ({"size": 2, "train_mazes": 5000}, r"number=5000: only \d+ different mazes found"),
        ({"file": "missing.npz"}, "missing.npz: not found"),
        ({"test_file": "missing.csv"}, "missing.csv: not found"),
    ],
)
def test_mazes_that_cannot_be_had_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        MazeData(config(**changes), 0).split("train")
    assert "\n" not in str(error.value)


def test_files_of_another_size_and_horizons_without_a_path_are_refused(tmp_path: Path) -> None:
    five = stored(tmp_path, size=5)
    with pytest.raises(InputError, match=r"its mazes are 5 cells wide, but task.size=4; choose task.size=5"):
        MazeData(config(file=five), 0).split("test")
    path = tmp_path / "short.npz"
    mazes = generate(GeneratorConfig(size=4), 300, 0)
    files.write(path, mazes[mazes.length <= 2], {})
    read_out = {"name": "next_cell", "horizon": 3}
    given = config(file=str(path), read_out=read_out, train_mazes=5, validation_mazes=5, test_mazes=5)
    with pytest.raises(InputError, match=r"task.read_out.horizon=3: the longest path .* has 2 moves.*choose 1\.\.2"):
        MazeData(given, 0).split("train")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: np.put_along_axis(m.goal, np.array([3]), m.start[3], 0), "maze 3: start and goal are the same cell"),
        (lambda m: close(m, 2), "maze 2: unsolvable: no way to the goal"),
        (lambda m: m.path.__setitem__((1, 1), 15 - m.path[1, 0]), "maze 1: the path "),
    ],
)
def test_a_file_with_an_impossible_maze_names_file_and_maze(tmp_path: Path, damage: Any, message: str) -> None:
    mazes = generate(GeneratorConfig(size=4, min_path_length=4), 10, 0)
    damage(mazes)
    path = tmp_path / "wrong.npz"
    files.write(path, mazes, {})
    with pytest.raises(InputError, match=f"wrong.npz {message}") as error:
        MazeData(config(file=str(path)), 0).split("test")
    assert "\n" not in str(error.value)


def close(mazes: Mazes, maze: int) -> None:
    """Shut the goal in."""
    row, column = divmod(int(mazes.goal[maze]), mazes.size)
    for direction, (down, right) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
        if mazes.open[maze, row, column, direction]:
            mazes.open[maze, row, column, direction] = False
            mazes.open[maze, row + down, column + right, opposite(direction)] = False


def test_the_floor_is_the_better_walker_and_the_ceiling_solves_everything() -> None:
    found = MazeData(config(size=6, test_mazes=200, min_path_length=8), 0)
    by_metric = found.references_by_metric(found.split("test"))
    for own in by_metric.values():
        assert own["ceiling"].eq(1).all()
        assert own["floor"].mean() == max(own["random"].mean(), own["toward_goal"].mean()) < 0.8
        assert all(values.shape == (200,) for values in own.values())
    assert by_metric["optimal"]["floor"].mean() <= by_metric["reached"]["floor"].mean()
    assert torch.equal(found.references(found.split("test"))["floor"], by_metric["optimal"]["floor"])
    assert proportion(by_metric["optimal"]["ceiling"]).low > 0.98


def test_a_configuration_survives_being_written_down() -> None:
    given = config(read_out={"name": "next_cell", "horizon": 3}, encoder={"name": "cnn", "features": 8})
    assert build(MazeConfig, to_plain(given), "task") == given
