"""Files of mazes, tables and objects from elsewhere, and the command: what comes back, and what is refused."""

import csv
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

from headwise.commands.catalogue import commands
from headwise.commands.words import read as read_words
from headwise.errors import InputError, StorageError
from headwise.tasks.maze import command as module
from headwise.tasks.maze.command import Options
from headwise.tasks.maze.files import read, whole, write
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.imports import from_solved_mazes, read_maze_hard
from headwise.tasks.maze.lattice import Mazes, excess

# Rows of four: the goal in the corner is reached from below.
SOLVABLE = "S #G" "#   " "  # " "    "  # fmt: skip
ANSWER = "So#G" "#ooo" "  # " "    "  # fmt: skip
DETOUR = "So#G" "#o o" " o#o" " ooo"  # fmt: skip


def mazes(number=20, family="percolation"):
    return generate(GeneratorConfig(size=5, family=family), number, seed=0)


def same(one, other):
    width = min(one.path.shape[1], other.path.shape[1])
    return all(np.array_equal(getattr(one, key), getattr(other, key)) for key in ("open", "start", "goal")) and (
        np.array_equal(one.path[:, :width], other.path[:, :width]) and (one.length == other.length).all()
    )


def command(words):
    """What `headwise data mazes` with these words returns."""
    return module.run(read_words(commands()["data mazes"], Options, words))


def table(path, *rows, header=("source", "question", "answer", "rating")):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(("made up", *row, "1") if row else () for row in rows)
    return path


def test_what_is_written_is_read(tmp_path):
    some = mazes()
    write(tmp_path / "new" / "some.npz", some, {"seed": 0})
    back, about = read(tmp_path / "new" / "some.npz")
    assert same(some, back)
    assert about == {"seed": 0}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["some.npz"]


def test_no_file_is_replaced(tmp_path):
    path = tmp_path / "some.npz"
    path.write_text("precious")
    with pytest.raises(InputError, match=r"some.npz: exists; choose another name"):
        write(path, mazes(), {})
    assert path.read_text() == "precious"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"/file: cannot be written"):
        write(tmp_path / "file" / "some.npz", mazes(), {})


def test_a_file_has_the_permissions_of_any_other_and_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "other").touch()
    write(tmp_path / "some.npz", mazes(), {})
    assert (tmp_path / "some.npz").stat().st_mode == (tmp_path / "other").stat().st_mode
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "stopped"):
        raise KeyboardInterrupt
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other", "some.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"goal": lambda goal: np.where(np.arange(20) == 7, 99, goal)}, "maze 7: goal is cell 99; choose 0..24"),
        ({"passages": lambda passages: passages | 2}, r"maze 0: cell \(0, 4\) is open to the border"),
        ({"path": lambda path: path[:, ::-1]}, "maze 0: the path does not lead from start to goal"),
        ({"path": lambda path: path[:5]}, "do not describe the same number"),
        ({"start": lambda start: start + 0.5}, "start is float64"),
        ({"passages": lambda passages: passages[:, :4]}, r"passages have shape \(20, 4, 5\)"),
        ({"format": lambda version: version + 1}, "format 2; this version reads format 1"),
        ({"about": lambda about: np.array("{")}, "damaged, not JSON"),
        ({"about": lambda about: np.array([{}], dtype=object)}, "damaged, not a whole .npz file"),
    ],
)
def test_a_damaged_file_is_refused_with_what_is_wrong(tmp_path, change, message):
    write(tmp_path / "good.npz", mazes(), {})
    arrays = dict(np.load(tmp_path / "good.npz"))
    for name, how in change.items():
        arrays[name] = how(arrays[name])
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=rf"bad.npz:? .*{message}") as error:
        read(tmp_path / "bad.npz")
    assert "\n" not in str(error.value)


def test_a_file_with_one_wrong_byte_is_refused_or_read_as_it_was(tmp_path):
    some = mazes(3)
    write(tmp_path / "good.npz", some, {})
    content, path = (tmp_path / "good.npz").read_bytes(), tmp_path / "bad.npz"
    refused = 0
    for place in range(0, len(content), 11):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            assert same(read(path)[0], some)
        except InputError as error:
            refused += str(error).startswith(str(path))
    assert refused > len(content) / 11 / 2


def test_a_file_that_lacks_an_array_is_refused(tmp_path):
    write(tmp_path / "good.npz", mazes(), {})
    arrays = dict(np.load(tmp_path / "good.npz"))
    del arrays["start"]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=r"bad.npz: damaged, not a whole .npz file"):
        read(tmp_path / "bad.npz")


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    for name, reader in (("pipe.npz", read), ("pipe.csv", read_maze_hard)):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}: not a regular file"):
            reader(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 a beginning"])
def test_what_is_no_file_of_mazes_is_refused(tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"bad.npz: damaged, not a whole .npz file"):
        read(tmp_path / "bad.npz")
    with pytest.raises(InputError, match=r"none.npz: not found"):
        read(tmp_path / "none.npz")


def test_a_character_grid_becomes_cells_of_which_walls_are_blocked(tmp_path):
    found = read_maze_hard(table(tmp_path / "hard.csv", (SOLVABLE, ANSWER), (SOLVABLE, DETOUR)))
    assert (found.size, found.start.tolist(), found.goal.tolist()) == (4, [0, 0], [3, 3])
    assert (~found.open.any(-1)[0]).sum() == SOLVABLE.count("#")
    assert found.path[0, :6].tolist() == [0, 1, 5, 6, 7, 3]
    assert excess(found).tolist() == [0, 4]  # reported, not refused


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("S" * 15, "S" * 15)], "row 2: question has 15 characters; expected a square"),
        ([(SOLVABLE, ANSWER), (SOLVABLE[:-1], ANSWER)], "row 3: question has 15 characters; expected 16"),
        ([(SOLVABLE, ANSWER + " ")], "row 2: answer has 17 characters; expected 16"),
        ([(SOLVABLE, ANSWER), (), (SOLVABLE.replace("G", "x"), ANSWER)], r"row 4: question has 'x' at \(0, 3\)"),
        ([(SOLVABLE.replace("G", " "), ANSWER)], "row 2: 0 cells G; expected one goal"),
        ([("SS" + SOLVABLE[2:], ANSWER)], "row 2: 2 cells S; expected one start"),
        ([(SOLVABLE, "So#G" "oooo" "  # " "    ")], r"row 2: the path goes through a wall, at \(1, 0\)"),
        ([(SOLVABLE, "So#G" "#ooo" "# # " "    ")], r"row 2: the answer is to another question, at \(2, 0\)"),
        ([(SOLVABLE, "So#G" "#o o" "  # " "    ")], "row 2: the path has a gap"),
        ([(SOLVABLE, "So#G" "#ooo" " o# " "    ")], "row 2: the path marks 1 cells beside the way"),
        ([(SOLVABLE, ANSWER), ("S # " "# # " "  # " "  #G", "S # " "# # " "  # " "  #G")], "row 3: unsolvable"),
        ([], "no mazes"),
    ],
)  # fmt: skip
def test_a_bad_row_of_a_table_is_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=f"hard.csv:? ?.*{message}") as error:
        read_maze_hard(table(tmp_path / "hard.csv", *rows))
    assert "\n" not in str(error.value)


def corridor(size):
    """A maze of one corridor through all cells, so that its path has every number up to the largest."""
    cells = np.arange(size * size).reshape(size, size)
    cells[1::2] = cells[1::2, ::-1]
    passages = np.zeros((1, size * size, 4), dtype=bool)
    way = cells.reshape(-1)
    for direction, step in enumerate((-size, 1, size, -1)):
        passages[0, way[:-1], direction] |= np.diff(way) == step
        passages[0, way[1:], direction] |= -np.diff(way) == step
    return Mazes(passages.reshape(1, size, size, 4), way[:1], way[-1:], way[None])


def test_the_largest_mazes_are_kept_whole_and_larger_ones_refused_by_all_ways_in(tmp_path):
    write(tmp_path / "large.npz", corridor(64), {})
    assert same(read(tmp_path / "large.npz")[0], corridor(64))
    with pytest.raises(InputError, match=r"larger.npz: mazes of 182 x 182 cells; choose at most 64 x 64"):
        write(tmp_path / "larger.npz", corridor(182), {})
    with pytest.raises(InputError, match=r"maze 0: a maze of 65 x 65 cells; choose at most 64 x 64"):
        from_solved_mazes([solved(corridor(65), 0)])
    text = "S" + " " * (65 * 65 - 2) + "G"
    with pytest.raises(InputError, match=r"hard.csv row 2: a maze of 65 x 65 characters; choose at most 64 x 64"):
        command([f"input={table(tmp_path / 'hard.csv', (text, text))}", f"output={tmp_path}/hard.npz"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["hard.csv", "large.npz"]
    arrays = dict(np.load(tmp_path / "large.npz")) | {"passages": np.zeros((1, 65, 65), dtype=np.uint8)}
    np.savez(tmp_path / "larger.npz", **arrays)
    with pytest.raises(InputError, match=r"larger.npz: mazes of 65 x 65 cells; choose at most 64 x 64"):
        read(tmp_path / "larger.npz")


def test_what_is_no_table_of_mazes_is_refused(tmp_path):
    with pytest.raises(InputError, match="row 1: no column answer; expected source, question, answer, rating"):
        read_maze_hard(table(tmp_path / "hard.csv", header=("source", "question", "solution", "rating")))
    (tmp_path / "hard.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no text in UTF-8"):
        read_maze_hard(tmp_path / "hard.csv")
    with pytest.raises(InputError, match=r"none.csv: not found"):
        read_maze_hard(tmp_path / "none.csv")


def solved(some, i, **changes):
    """A maze as the package maze-dataset represents it."""
    size, path = some.size, some.path[i][some.path[i] >= 0]
    values = {
        "connection_list": np.stack([some.open[i, ..., 2], some.open[i, ..., 1]]),
        "start_pos": np.array(divmod(int(some.start[i]), size)),
        "end_pos": np.array(divmod(int(some.goal[i]), size)),
        "solution": np.stack([path // size, path % size], axis=1),
    }
    return SimpleNamespace(**{**values, **changes})


def test_objects_of_maze_dataset_are_read_without_the_package():
    some = mazes()
    assert same(from_solved_mazes(solved(some, i) for i in range(20)), some)
    assert same(from_solved_mazes(solved(some, i, solution=None) for i in range(20)), some)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connection_list": np.zeros((4, 5, 5))}, r"connection_list has shape \(4, 5, 5\); expected \(2, N, N\)"),
        ({"connection_list": np.ones((2, 5, 5))}, "open to the border"),
        ({"connection_list": np.zeros((2, 5, 5))}, "unsolvable"),
        ({"connection_list": np.zeros((2, 6, 6))}, "size 6, but the first has 5"),
        ({"end_pos": np.array([5, 0])}, "a cell outside the maze; choose rows and columns 0..4"),
        ({"end_pos": np.array([1, 2, 3])}, r"have to be \(row, column\)"),
        ({"start_pos": None}, "expected connection_list, start_pos and end_pos"),
        ({"solution": np.zeros((3, 2))}, "the path does not lead from start to goal"),
    ],
)
def test_an_object_that_is_not_sound_is_named(changes, message):
    with pytest.raises(InputError, match=f"maze 1: .*{message}"):
        from_solved_mazes([solved(mazes(), 0), solved(mazes(), 1, **changes)])


def test_the_command_writes_what_it_generates(tmp_path):
    words = ["size=6", "family=percolation", "number=30", "seed=2", "split=test", "min_path_length=5"]
    said = command([*words, f"output={tmp_path}/some.npz", f"picture={tmp_path}/first.svg"])
    back, about = read(tmp_path / "some.npz")
    assert same(back, generate(GeneratorConfig(size=6, family="percolation", min_path_length=5), 30, 2, "test"))
    assert about == said["about"] == {
        "size": 6, "family": "percolation", "min_path_length": 5, "loops": 0.1, "seed": 2, "split": "test",
    }  # fmt: skip
    assert json.loads(json.dumps(said))["path_length"]["least"] >= 5
    assert (said["mazes"], said["longer_than_shortest"]) == (30, 0)
    assert (tmp_path / "first.svg").exists()


def test_the_command_converts_a_table(tmp_path):
    table(tmp_path / "hard.csv", (SOLVABLE, ANSWER), (SOLVABLE, DETOUR))
    said = command([f"input={tmp_path}/hard.csv", f"output={tmp_path}/hard.npz"])
    assert (said["mazes"], said["size"], said["longer_than_shortest"]) == (2, 4, 1)
    assert said["path_length"] == {"least": 5, "mean": 7.0, "most": 9}
    assert read(tmp_path / "hard.npz")[1] == {"from": "hard.csv"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["size=6"], "data mazes: output= is missing; write headwise data mazes output="),
        (["output=some.txt"], "output=some.txt: choose a name that ends in .npz"),
        (["size=1", "output=some.npz"], "size=1: choose 2..64"),
        (
            ["size=6", "output=some.npz", "picture=some.gif"],
            "picture=some.gif: choose a name that ends in .svg or .png",
        ),
        (["size", "output=some.npz"], "data mazes size: not a setting; write key=value: headwise data mazes"),
        (
            ["sise=6", "output=some.npz"],
            "data mazes sise=6: unknown key; allowed in data mazes: size",
        ),
        (["input=hard.csv", "size=6", "output=some.npz"], "size=6: of generated mazes; leave it out beside input="),
        (["number=many", "output=some.npz"], "number=many: expected a whole number"),
    ],
)
def test_the_command_refuses_what_it_cannot_do_before_it_writes(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        command(words)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["output=file/new/some.npz"], "output=file/new/some.npz: cannot be written: .*/file: Not a directory"),
        (["output=some.npz", "picture=file/a.svg"], "picture=file/a.svg: cannot be written: .*/file: Not a directory"),
        (["output=some.npz", "picture=keep.svg"], "picture=keep.svg: exists; choose another name, or remove it first"),
        (["output=new/some.npz", "picture=keep.svg"], "picture=keep.svg: exists"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "generate", lambda *_: pytest.fail("generated for nothing"))
    for name in ("file", "keep.svg"):
        (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match=message) as error:
        command(words)
    assert "\n" not in str(error.value)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(
        ("file", "keep.svg"), "precious"
    )


def test_a_picture_that_fails_leaves_no_mazes_in_the_way_of_the_next_attempt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("headwise.tasks.maze.render.svg", full)
    with pytest.raises(StorageError, match=r"first.svg: cannot be written \(No space left on device"):
        command(["number=3", "output=some.npz", "picture=first.svg"])
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_in_all_places(tmp_path, monkeypatch):
    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    table(home / "hard.csv", (SOLVABLE, ANSWER))
    said = command(["input=~/hard.csv", "output=~/new/hard.npz", "picture=~/hard.svg"])
    assert said["output"] == str(home / "new" / "hard.npz")
    assert read(home / "new" / "hard.npz")[1] == {"from": "hard.csv"}
    assert (home / "hard.svg").exists()
    with pytest.raises(InputError, match=r"~nobody-of-that-name/hard.npz: no such home"):
        command(["number=3", "output=~nobody-of-that-name/hard.npz"])
    assert not list(here.iterdir())
