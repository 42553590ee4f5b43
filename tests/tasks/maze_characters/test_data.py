"""Sets of mazes in characters: generated, from tables and from files; what is refused."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from headwise.errors import InputError
from headwise.schema import build
from headwise.tasks.maze import files
from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.symmetries import Symmetries
from headwise.tasks.maze_characters import MazeCharactersConfig, MazeCharactersData
from headwise.tasks.maze_characters.characters import CHARACTERS, answer, question
from headwise.tasks.maze_characters.drawing import DrawingConfig

SMALL = {"size": 7, "train_mazes": 12, "validation_mazes": 6, "test_mazes": 8}


def data(**changes: Any) -> MazeCharactersData:
    return MazeCharactersData(build(MazeCharactersConfig, SMALL | changes, "task"), 0)


def texts(characters: torch.Tensor) -> list[str]:
    return ["".join(CHARACTERS[one] for one in row) for row in characters.tolist()]


def rows(number: int, size: int = 7) -> list[tuple[str, str]]:
    """Questions and answers of generated mazes."""
    batch = tensors(generate(DrawingConfig(size), number, 5))
    return list(zip(texts(question(batch)), texts(answer(batch)), strict=True))


def table(path: Path, mazes: list[tuple[str, str]]) -> str:
    """A file in the layout of Maze-Hard."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("source", "question", "answer", "rating"))
        writer.writerows(("made up", *maze, 110) for maze in mazes)
    return str(path)


def test_splits_have_the_numbers_asked_for_and_share_no_maze() -> None:
    found = data(min_path_length=3, max_path_length=8)
    asked = {name: texts(question(found.split(name).examples)) for name in ("train", "validation", "test")}
    assert [len(split) for split in asked.values()] == [12, 6, 8]
    assert len({maze for split in asked.values() for maze in split}) == 26
    lengths = torch.cat([found.split(name).examples["length"] for name in asked])
    assert int(lengths.min()) == 3
    assert int(lengths.max()) <= 8


def test_a_table_is_read_character_by_character_and_its_answers_count(tmp_path: Path) -> None:
    mazes = rows(30)
    source = data(file=table(tmp_path / "hard.csv", mazes)).split("test")
    batch = source.batch(torch.arange(8))
    assert texts(question(batch)) == [asked for asked, _ in mazes[-8:]]
    assert texts(answer(batch)) == [answered for _, answered in mazes[-8:]]


def test_the_answer_of_a_table_counts_where_another_way_is_as_short(tmp_path: Path) -> None:
    one = ("S     ###     G##########", "Soooo ###o    G##########")
    other = (one[0], "S    o### ooooG##########")
    path = table(tmp_path / "test.csv", [one, other])
    batch = data(size=5, test_file=path, test_mazes=2).split("test").batch(torch.arange(2))
    assert texts(answer(batch)) == [one[1], other[1]]


def test_an_open_character_that_touches_no_other_is_read_as_a_wall(tmp_path: Path) -> None:
    maze = ("S G###### ###############", "SoG###### ###############")
    batch = data(size=5, test_file=table(tmp_path / "test.csv", [maze]), test_mazes=1).split("test").examples
    assert texts(question(batch)) == [maze[0][:5] + "#" * 20]
    assert texts(answer(batch)) == [maze[1][:5] + "#" * 20]


def test_what_is_tested_is_not_trained_on(tmp_path: Path) -> None:
    mazes = rows(40)
    found = data(file=table(tmp_path / "hard.csv", mazes + mazes[:8]))  # the last are the first once more
    asked = [texts(question(found.split(name).examples)) for name in ("train", "test")]
    assert asked[1] == [maze for maze, _ in mazes[:8]]
    assert not set(asked[0]) & set(asked[1])
    found = data(test_file=table(tmp_path / "test.csv", rows(8)))
    assert not set(texts(question(found.split("train").examples))) & {maze for maze, _ in rows(8)}


def test_a_file_of_drawn_mazes_is_read_and_one_of_a_lattice_refused(tmp_path: Path) -> None:
    files.write(tmp_path / "drawn.npz", generate(DrawingConfig(7), 30, 0), {})
    assert len(data(file=str(tmp_path / "drawn.npz")).split("train")) == 12
    files.write(tmp_path / "lattice.npz", generate(GeneratorConfig(7), 30, 0), {})
    for key in ("file", "test_file"):
        with pytest.raises(InputError, match=rf"task.{key}=.*lattice.npz: 8 of 8 test mazes have walls between"):
            data(**{key: str(tmp_path / "lattice.npz")}).split("train")


def test_in_training_characters_are_turned_and_mirrored_with_their_answer() -> None:
    source = data(size=8).split("train")
    assert torch.cat(source.plan(4, 0, 0, shuffle=True)).max() >= len(source)
    whole = source.batch(torch.arange(8) * len(source))  # the first maze in every symmetry
    tables = Symmetries.of(8)
    for characters in (question, answer):
        turned = characters(source.batch(torch.zeros(8, dtype=torch.int64))).gather(1, tables.cell_from)
        assert characters(whole).equal(turned)
    assert len(set(texts(question(whole)))) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 4}, r"size=4: choose 5\.\.64 characters"),
        ({"min_path_length": 17}, r"min_path_length=17: choose 1\.\.16, .* size=7 characters"),
        ({"max_path_length": 0}, r"max_path_length=0: choose 1 \(min_path_length\) or more, or null"),
        ({"family": "percolation"}, "family=percolation: choose one of depth_first, spanning_tree"),
        ({"loss": "hinge"}, "task.loss=hinge: choose one of softmax, stablemax"),
        ({"test_mazes": 0}, "task.test_mazes=0: choose 1 or more"),
        ({"read_out": "grid"}, "task.read_out"),
        (
            {"file": "x.csv", "min_path_length": 9, "max_path_length": 12},
            r"task.min_path_length=9 task.max_path_length=12: .* choose task.min_path_length=1 task.max_path",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        data(**changes)
    assert "\n" not in str(error.value)


def test_tables_that_are_not_right_are_refused_with_their_row(tmp_path: Path) -> None:
    (asked, answered), *others = rows(3)
    illegal = asked.replace("S", "x")
    for mazes, message in (
        (rows(3, size=9), r"its mazes are 9 cells wide, but task.size=7; choose task.size=9"),
        ([(asked, answered), (asked[:-1], answered), *others], "row 3: question has 48 characters; expected 49"),
        ([(asked, answered), (illegal, answered)], r"row 3: question has 'x' at \(\d, \d\)"),
    ):
        with pytest.raises(InputError, match=message) as error:
            data(test_file=table(tmp_path / "hard.csv", mazes), test_mazes=2).split("test")
        assert "\n" not in str(error.value)
