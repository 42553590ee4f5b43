"""Puzzles come from files and go into files; what is wrong with one is said with its line, and nothing is written."""

import json
from pathlib import Path

import numpy as np
import pytest

from headwise import cli
from headwise.errors import InputError
from headwise.tasks.sudoku import files
from headwise.tasks.sudoku.board import joined, text_of
from headwise.tasks.sudoku.generate import GeneratorConfig, generate
from headwise.tasks.sudoku.imports import read_puzzles
from tests.tasks.sudoku import plain

Captured = pytest.CaptureFixture[str]
NINE, SMALL = (3, 3), (2, 2)
TABLE = f"source,question,answer,rating\nnorvig,{plain.HARD},{plain.HARD_SOLUTION},12\n,{plain.EASY},,\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", files.ENDINGS)
def test_what_is_written_is_read_again(ending: str, tmp_path: Path) -> None:
    puzzles, path = generate(GeneratorConfig(size=4), 3, seed=0), tmp_path / f"puzzles{ending}"
    files.write(path, puzzles, {"seed": 0})
    again = files.read(path)[0] if ending == ".npz" else joined(list(read_puzzles(path, SMALL)))
    for name in ("clues", "solution", "guesses"):
        assert np.array_equal(getattr(again, name), getattr(puzzles, name))
    with pytest.raises(InputError, match="exists"):
        files.write(path, puzzles, {})


def test_a_table_like_sudoku_extreme_is_solved_checked_and_graded(tmp_path: Path) -> None:
    hard, easy = read_puzzles(written(tmp_path, "some.csv", TABLE), NINE)
    assert text_of(hard.solution[0]) == plain.HARD_SOLUTION
    assert (hard.rating[0], hard.guesses[0] > 0) == (12, True)
    assert text_of(easy.clues[0]) == plain.EASY
    assert np.isnan(easy.rating[0])
    assert easy.guesses[0] == 0


def test_plain_lines_have_dots_or_zeros_and_perhaps_solutions_and_letters_from_ten_on(tmp_path: Path) -> None:
    lines = f"# two\n\n{plain.EASY.replace('.', '0')},{plain.EASY_SOLUTION}\r\n{plain.HARD}\n"
    assert [text_of(one.clues[0]) for one in read_puzzles(written(tmp_path, "two.txt", lines), NINE)] == [
        plain.EASY,
        plain.HARD,
    ]
    # Rows of 16 digits, each shifted against the last: a full board, of which a few cells are asked.
    rows = [np.roll(np.arange(1, 17), -(4 * (row % 4) + row // 4)) for row in range(16)]
    board = "".join("." if place % 37 == 0 else text_of([digit]) for place, digit in enumerate(np.concatenate(rows)))
    (large,) = read_puzzles(written(tmp_path, "large.txt", board.lower()), (4, 4))
    assert large.solution.max() == 16
    assert text_of(large.solution[0]) == text_of(np.concatenate(rows))


MISTAKES = {
    "no solution": ("123....4........", "line 1: no solution"),
    "several": ("1...............", "line 1: several solutions"),
    "no blanks": ("1234341221434321", "line 1: no blanks"),
    "length": ("1....2....3....", "line 1: 15 characters; expected 16"),
    "another size": ("." * 81, r"line 1: 81 characters; expected 16 \(4 x 4\); choose size=9"),
    "character": ("1....5....3....4", "line 1: '5' in row 2, column 2; expected . or 0 for a blank, or one of 1234"),
    "clash": ("11..............", "line 1: clues clash: 1 in row 1, column 1 and in row 1, column 2"),
    "clash in a box": ("1....1..........", "line 1: clues clash: 1 in row 1, column 1 and in row 2, column 2"),
    "words": (f"{plain.SMALL} 1 2", "line 1: 3 words"),
    "answer": (f"{plain.SMALL} 1234341243212143", "line 1: the answer is not the solution"),
    "empty": ("# nothing", "no puzzles"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_line_is_one_line_and_code_2_and_nothing_is_written(
    name: str, tmp_path: Path, capsys: Captured
) -> None:
    text, message = MISTAKES[name]
    path, output = written(tmp_path, "wrong.txt", text), tmp_path / "folder" / "out.npz"
    with pytest.raises(InputError, match=message):
        list(read_puzzles(path, SMALL))
    assert cli.main(["data", "sudoku", "size=4", f"input={path}", f"output={output}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) <= 2
    assert not output.parent.exists()


def test_tables_without_what_is_needed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: no column question"):
        list(read_puzzles(written(tmp_path, "a.csv", f"puzzle\n{plain.EASY}\n"), NINE))
    unrated = written(tmp_path, "b.csv", f"question\n{plain.EASY}\n")
    assert len(list(read_puzzles(unrated, NINE))) == 1
    with pytest.raises(InputError, match="line 1: no column rating"):
        list(read_puzzles(unrated, NINE, rated=True))
    with pytest.raises(InputError, match="plain lines have no rating"):
        list(read_puzzles(written(tmp_path, "c.txt", plain.EASY), NINE, rated=True))
    with pytest.raises(InputError, match="line 2: rating 'hard' is no number"):
        list(read_puzzles(written(tmp_path, "d.csv", f"question,rating\n{plain.EASY},hard\n"), NINE))


def test_a_damaged_file_of_arrays_is_refused(tmp_path: Path) -> None:
    puzzles, path = generate(GeneratorConfig(size=4), 2, seed=0), tmp_path / "good.npz"
    files.write(path, puzzles, {})
    arrays = dict(np.load(path))
    wrong = {
        "box": (np.array([3, 3]), "no board"),
        "guesses": (arrays["guesses"][:1], "the same number of puzzles"),
        "solution": (arrays["solution"][:, ::-1], "puzzle 0: the answer"),
        "clues": (arrays["clues"] * 0 + 9, "puzzle 0: a digit that is none of 0..4"),
        "format": (np.array(99), "this version reads format 1"),
    }
    for name, (value, message) in wrong.items():
        np.savez(tmp_path / f"{name}.npz", **(arrays | {name: value}))
        with pytest.raises(InputError, match=message):
            files.read(tmp_path / f"{name}.npz")


def test_the_command_generates_says_how_fast_and_draws(tmp_path: Path, capsys: Captured) -> None:
    output, picture = tmp_path / "new" / "some.csv", tmp_path / "one.svg"
    words = ["data", "sudoku", "size=4", "number=5", "split=test", f"output={output}", f"picture={picture}", "--json"]
    assert cli.main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["puzzles"], said["singles"], said["about"]["box"]) == (5, 1.0, [2, 2])
    assert said["puzzles_a_second"] > 0
    assert picture.read_text().startswith("<svg")
    expected = generate(GeneratorConfig(size=4), 5, seed=0, split="test")
    assert np.array_equal(joined(list(read_puzzles(output, SMALL))).clues, expected.clues)
    assert cli.main(words) == 2, "no file is replaced"


def test_what_means_nothing_beside_an_input_is_refused(tmp_path: Path, capsys: Captured) -> None:
    path = written(tmp_path, "a.txt", plain.SMALL)
    assert cli.main(["data", "sudoku", "seed=1", f"input={path}", f"output={tmp_path / 'o.txt'}"]) == 2
    assert "seed=1: of generated puzzles; leave it out beside input=" in capsys.readouterr().err
