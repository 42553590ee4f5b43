"""Puzzles by seed have one solution, no clue too many, the grade asked for, and splits that no symmetry connects."""

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.tasks.base import SPLITS
from headwise.tasks.sudoku.board import Puzzles, check
from headwise.tasks.sudoku.generate import GeneratorConfig, generate, splits_of
from headwise.tasks.sudoku.symmetries import of_puzzles, of_solutions
from tests.tasks.sudoku import plain


def rows(puzzles: Puzzles) -> list[tuple[plain.Grid, plain.Grid]]:
    return [(tuple(c), tuple(s)) for c, s in zip(puzzles.clues.tolist(), puzzles.solution.tolist(), strict=True)]


def without_each_clue(clues: plain.Grid) -> list[plain.Grid]:
    return [(*clues[:cell], 0, *clues[cell + 1 :]) for cell, digit in enumerate(clues) if digit]


@pytest.mark.parametrize(("size", "box"), [(4, None), (6, None), (6, (3, 2))])
def test_minimal_puzzles_have_one_solution_and_with_any_clue_less_several(
    size: int, box: tuple[int, ...] | None
) -> None:
    puzzles = generate(GeneratorConfig(size=size, box=box), 3, seed=0)
    check(puzzles, str)
    for clues, solution in rows(puzzles):
        assert list(plain.solutions(clues, puzzles.box)) == [solution]
        for fewer in without_each_clue(clues):
            found = plain.solutions(fewer, puzzles.box)
            assert len([one for one, _ in zip(found, range(2), strict=False)]) == 2


def test_puzzles_of_singles_are_solved_by_them_and_with_any_clue_less_are_not() -> None:
    puzzles = generate(GeneratorConfig(size=6, grade="singles"), 2, seed=0)
    assert puzzles.guesses.tolist() == [0, 0]
    for clues, solution in rows(puzzles):
        assert tuple(plain.after_singles(clues, (2, 3))) == solution
        assert all(0 in plain.after_singles(fewer, (2, 3)) for fewer in without_each_clue(clues))


def test_of_grade_and_number_of_clues_there_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (generate(GeneratorConfig(size=4, clues=7), 5, seed=0).n_clues == 7).all()
    hard = generate(GeneratorConfig(size=6, grade=(1, 4)), 2, seed=0)
    assert ((hard.guesses >= 1) & (hard.guesses <= 4)).all()
    monkeypatch.setattr("headwise.tasks.sudoku.generate._JUDGED", 60)
    with pytest.raises(InputError, match=r"size=4 clues=3 grade=any: 0 of \d+ puzzles drawn .* fewest clues were 4"):
        generate(GeneratorConfig(size=4, clues=3), 20, seed=0)
    # Where all are of another split it says so, and does not go on for ever.
    monkeypatch.setattr("headwise.tasks.sudoku.generate.splits_of", lambda numbers: np.zeros(len(numbers), int))
    with pytest.raises(InputError, match=r"0 of \d+ puzzles drawn were so and of the split"):
        generate(GeneratorConfig(size=4), 20, 0, "test")


def test_a_puzzle_depends_on_the_seed_and_its_number_alone() -> None:
    config = GeneratorConfig(size=4)
    many = generate(config, 6, seed=3, split="test")
    assert np.array_equal(generate(config, 2, seed=3, split="test").clues, many.clues[:2])
    assert np.array_equal(generate(config, 2, seed=3, split="test", first=4).clues, many.clues[4:])
    assert not np.array_equal(generate(config, 6, seed=4, split="test").clues, many.clues)
    assert not np.array_equal(generate(config, 6, seed=3, split="train").clues, many.clues)


def test_no_symmetry_makes_a_puzzle_of_one_split_one_of_another() -> None:
    parts = [generate(GeneratorConfig(4), 40, 0, split) for split in SPLITS]
    forms = [{plain.canonical(clues, solution, (2, 2)) for clues, solution in rows(part[:15])} for part in parts]
    assert sum(map(len, forms)) == len(set.union(*forms))
    assert all({4, 5} <= set(part.n_clues.tolist()) for part in parts), "each has both kinds that there are many of"


def test_from_9_x_9_on_not_even_solutions_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    from headwise.tasks.sudoku import generate as module

    seen = []

    def watched(solutions: np.ndarray, box: tuple[int, int]) -> np.ndarray:
        seen.append(of_solutions(solutions, box))
        return seen[-1]

    monkeypatch.setattr(module, "of_solutions", watched)
    monkeypatch.setattr(module, "_dug", lambda *_: (True, 0))
    for place, name in enumerate(SPLITS):
        solutions = generate(GeneratorConfig(9), 4, 0, name).solution
        assert (splits_of(of_solutions(solutions, (3, 3))) == place).all()
    assert seen


def test_numbers_tell_the_36_kinds_of_minimal_4_x_4_puzzles_apart() -> None:
    """There are 13 kinds with 4 clues, 22 with 5 and one with 6: published counts of essentially different ones."""
    puzzles = [generate(GeneratorConfig(4), 15, 0, split) for split in SPLITS]
    for part in puzzles:
        numbers = of_puzzles(part.clues, part.solution, part.box).tolist()
        forms = [plain.canonical(clues, solution, (2, 2)) for clues, solution in rows(part)]
        for i, form in enumerate(forms):
            assert [n == numbers[i] for n in numbers] == [other == form for other in forms]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 5}, "size=5: choose one of 4, 6, 9, 16"),
        ({"size": 6, "box": (2, 2)}, r"box=\[2,2\]: does not divide size=6 into boxes; choose \[2,3\] or \[3,2\]"),
        ({"size": 9, "box": (9, 1)}, r"box=\[9,1\]: does not divide size=9 into boxes; choose \[3,3\]"),
        ({"clues": 81}, "clues=81: choose 1..80 of the 81 cells of size=9"),
        ({"grade": (3, 1)}, r"grade=\[3,1\]: choose the least and the most guesses"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(**settings)  # type: ignore[arg-type]
