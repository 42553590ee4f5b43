"""Splits of generated puzzles and of files, and what predictors without training reach."""

from pathlib import Path

import numpy as np
import pytest
import torch

from headwise.errors import InputError
from headwise.tasks.base import SPLITS
from headwise.tasks.sudoku import SudokuConfig, SudokuData, files, references
from headwise.tasks.sudoku.board import Puzzles, joined
from headwise.tasks.sudoku.generate import GeneratorConfig, generate
from headwise.tasks.sudoku.symmetries import apply, of_puzzles
from tests.tasks.sudoku import plain

TINY = {"size": 4, "train_puzzles": 6, "validation_puzzles": 3, "test_puzzles": 3}


def puzzle(text: str, solution: str, box: tuple[int, int] = (2, 2)) -> Puzzles:
    arrays = (np.array([plain.grid(line)], dtype=np.int8) for line in (text, solution))
    return Puzzles(box, *arrays, np.zeros(1, np.int64), np.full(1, np.nan))


def image(puzzles: Puzzles, key: int) -> Puzzles:
    digits = [torch.from_numpy(part.astype(np.int64)) for part in (puzzles.clues, puzzles.solution)]
    moved = [part.numpy().astype(np.int8) for part in apply(digits, puzzles.box, torch.full((len(puzzles),), key))]
    return Puzzles(puzzles.box, *moved, puzzles.guesses, puzzles.rating)


def stored(path: Path, puzzles: Puzzles) -> str:
    files.write(path, puzzles, {})
    return str(path)


def numbers(puzzles: Puzzles) -> set[int]:
    return set(of_puzzles(puzzles.clues, puzzles.solution, puzzles.box).tolist())


def test_a_cache_keeps_generated_puzzles_and_replaces_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SudokuData(SudokuConfig(**TINY), 0, tmp_path).split("test").fingerprint()
    (kept,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr("headwise.tasks.sudoku.data.generate", None)
        assert SudokuData(SudokuConfig(**TINY), 0, tmp_path).split("test").fingerprint() == first
    kept.write_bytes(b"damaged")
    assert SudokuData(SudokuConfig(**TINY), 0, tmp_path).split("test").fingerprint() == first


def test_a_file_is_parted_and_what_is_symmetric_to_held_out_puzzles_is_not_trained_on(tmp_path: Path) -> None:
    puzzles = generate(GeneratorConfig(size=6), 9, seed=0)
    test, validation, train = puzzles[:3], puzzles[3:6], puzzles[6:]
    whole = joined([test, image(test[:1], 5), validation, image(validation, 7), train, image(test, 9)])
    path = stored(tmp_path / "all.npz", whole)
    config = SudokuConfig(size=6, file=path, train_puzzles=3, validation_puzzles=4, test_puzzles=3)
    data = SudokuData(config, 0)
    split = {name: data.split(name).puzzles for name in SPLITS}
    assert np.array_equal(split["test"].clues, test.clues)
    assert np.array_equal(split["validation"].clues, validation.clues), "without the image of a test puzzle"
    assert np.array_equal(split["train"].clues, train.clues)
    with pytest.raises(
        InputError, match=r"task.train_puzzles=4: behind the first 7 .* has 3 that are symmetric to none"
    ):
        SudokuData(SudokuConfig(size=6, file=path, train_puzzles=4, validation_puzzles=4, test_puzzles=3), 0).split(
            "train"
        )


def test_generated_puzzles_that_are_symmetric_to_one_of_a_test_file_are_not_trained_on(tmp_path: Path) -> None:
    generated = generate(GeneratorConfig(size=6), 6, seed=0)
    path = stored(tmp_path / "test.npz", image(generated[2:4], 3))
    data = SudokuData(SudokuConfig(size=6, train_puzzles=6, validation_puzzles=2, test_puzzles=2, test_file=path), 0)
    train = data.split("train").puzzles
    assert len(train) == 6
    assert not numbers(train) & numbers(generated[2:4])
    assert np.array_equal(train.clues[2:4], generated.clues[4:])


def test_of_a_file_puzzles_of_the_grade_are_taken_by_guesses_or_by_rating(tmp_path: Path) -> None:
    lines = [f"{plain.EASY},3", f"{plain.HARD},50", f"{plain.EASY},8"]
    table = tmp_path / "some.csv"
    table.write_text("question,rating\n" + "\n".join(lines) + "\n")

    def rating(**settings: object) -> list[float]:
        sizes = {"train_puzzles": 1, "validation_puzzles": 1}
        config = SudokuConfig(test_file=str(table), file=str(table), **sizes, **settings)  # type: ignore[arg-type]
        return SudokuData(config, 0).split("test").puzzles.rating.tolist()

    assert rating(grade="singles", test_puzzles=2) == [3, 8]
    assert rating(grade=(1, 10**6), test_puzzles=1) == [50]
    assert rating(grade=(5, 60), grade_by="rating", test_puzzles=2) == [50, 8]
    with pytest.raises(InputError, match=r"task.test_puzzles=3: .* has 2 puzzles of task.grade"):
        rating(grade="singles", test_puzzles=3)
    table.write_text(f"question\n{plain.EASY}\n")
    with pytest.raises(InputError, match="no column rating"):
        rating(grade_by="rating", test_puzzles=1)


def test_a_file_of_another_board_is_refused_with_the_settings_that_fit(tmp_path: Path) -> None:
    path = stored(tmp_path / "wide.npz", generate(GeneratorConfig(size=6, box=(3, 2)), 2, seed=0))
    with pytest.raises(InputError, match=r"choose task.size=6 task.box=\[3,2\]"):
        SudokuData(SudokuConfig(size=6, test_file=path, test_puzzles=1), 0).split("test")


def test_references_are_what_is_expected_of_guesses() -> None:
    one = puzzle(plain.SMALL, plain.SMALL_SOLUTION)
    found = references.by_metric(one)
    blank = [cell for cell, digit in enumerate(plain.grid(plain.SMALL)) if not digit]
    left = [len(plain.candidates(one.clues[0].tolist(), cell, (2, 2))) for cell in blank]
    assert found["exact"]["candidates"].item() == pytest.approx(np.prod([1 / n for n in left]))
    assert found["blanks"]["candidates"].item() == pytest.approx(np.mean([1 / n for n in left]))
    assert found["exact"]["guess"].item() == pytest.approx(0.25 ** len(blank))
    assert found["blanks"]["guess"].item() == 0.25
    assert found["exact"]["singles"].item() == found["exact"]["ceiling"].item() == 1
    assert torch.equal(found["exact"]["floor"], found["exact"]["candidates"])


def test_where_singles_are_not_enough_their_reference_guesses_the_rest() -> None:
    hard = puzzle(plain.HARD, plain.HARD_SOLUTION, (3, 3))
    stuck = plain.after_singles(plain.grid(plain.HARD), (3, 3))
    left = [len(plain.candidates(stuck, cell, (3, 3))) for cell in range(81) if not stuck[cell]]
    found = references.by_metric(hard)
    assert left
    assert found["exact"]["singles"].item() == pytest.approx(np.prod([1 / n for n in left]))
    before = [len(plain.candidates(plain.grid(plain.HARD), c, (3, 3))) for c in range(81) if plain.HARD[c] == "."]
    assert found["exact"]["floor"].item() == pytest.approx(np.prod([1 / n for n in before]))
    asked = plain.HARD.count(".")
    expected = (asked - len(left) + sum(1 / n for n in left)) / asked
    assert found["blanks"]["singles"].item() == pytest.approx(expected)


def test_the_majority_reference_takes_the_digit_that_clues_have_least_often() -> None:
    one = puzzle("12..34..21..432.", "1234341221434321")
    assert references.by_metric(one)["blanks"]["majority"].item() == pytest.approx(
        [plain.grid("1234341221434321")[c] for c in range(16) if "12..34..21..432."[c] == "."].count(1) / 7
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 7}, "task.size=7: choose one of"),
        ({"box": (2, 3)}, r"task.box=\[2,3\]: does not divide size=9"),
        ({"test_puzzles": 0}, "task.test_puzzles=0: choose 1 or more"),
        ({"file": "a.csv", "clues": 30}, "task.clues=30: is about generated puzzles"),
        ({"grade_by": "rating"}, "task.grade_by=rating: generated puzzles have none"),
        ({"grade_by": "rating", "file": "a.csv", "grade": "singles"}, "says nothing of ratings"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SudokuConfig(**settings)  # type: ignore[arg-type]
