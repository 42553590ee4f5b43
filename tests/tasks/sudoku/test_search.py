"""The solver is complete, its singles are those of the book, and its grade is what it says; compiled or not."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

from headwise.tasks.sudoku import search
from headwise.tasks.sudoku.board import board
from headwise.tasks.sudoku.generate import GeneratorConfig, generate
from tests.tasks.sudoku import plain

SMALL, NINE = (2, 2), (3, 3)


def graded(clues: plain.Grid, box: tuple[int, int], most: int = 10**6, by: ModuleType = search) -> tuple[int, int, str]:
    """Solutions, guesses and the first solution."""
    solution, there = np.zeros(len(clues), np.int64), board(box)
    found, guesses = by.grade(np.array(clues), there.units, there.peers, solution, most)
    return found, guesses, "".join(map(str, solution))


def random_clues(count: int) -> list[plain.Grid]:
    """4 x 4 boards with a few digits anywhere: with no solution, one, or many."""
    rng = np.random.default_rng(0)
    shown = rng.random((count, 16)) < rng.uniform(0.1, 0.5, (count, 1))
    return [tuple(row) for row in (rng.integers(1, 5, (count, 16)) * shown).tolist()]


def test_published_puzzles_have_their_published_solutions() -> None:
    assert graded(plain.grid(plain.EASY), NINE) == (1, 0, plain.EASY_SOLUTION)
    found, guesses, solution = graded(plain.grid(plain.HARD), NINE)
    assert (found, solution) == (1, plain.HARD_SOLUTION)
    assert guesses > 0


def test_it_finds_as_many_solutions_as_trying_everything_does() -> None:
    seen = set()
    for clues in random_clues(150):
        clashing = any(
            digit and digit in {clues[peer] for peer in plain.peers(cell, SMALL)} for cell, digit in enumerate(clues)
        )
        expected = -2 if clashing else min(2, sum(1 for _ in plain.solutions(clues, SMALL)))
        assert graded(clues, SMALL)[0] == expected
        seen.add(expected)
    assert seen == {-2, 0, 1, 2}


def test_all_288_boards_of_4_x_4_are_counted() -> None:
    there = board(SMALL)
    digits, candidates = np.zeros(16, np.int32), np.full(16, 15, np.int32)
    rank = np.tile(np.arange(4), (16, 1))
    assert search.search(digits, candidates, there.units, there.peers, rank, 1000, 10**6)[0] == 288


@pytest.mark.parametrize("text", [plain.EASY, plain.HARD, plain.HARD.replace("4", ".", 1)])
def test_singles_are_placed_until_there_are_none(text: str) -> None:
    clues, there = plain.grid(text), board(NINE)
    digits, candidates, numbers = np.zeros(81, np.int32), np.zeros(81, np.int32), np.zeros(81, np.int64)
    assert search.start(np.array(clues), there.units, there.peers, digits, candidates)
    assert search.singles(digits, candidates, there.units, there.peers)
    search.write(digits, numbers)
    assert numbers.tolist() == plain.after_singles(clues, NINE)


def test_a_guess_is_each_candidate_that_is_tried_in_ascending_order_at_the_first_blank_with_the_fewest() -> None:
    several = [clues for clues in random_clues(150) if graded(clues, SMALL)[0] > 0]
    expected = [guesses_of(clues, SMALL) for clues in several]
    assert [graded(clues, SMALL)[1] for clues in several] == expected
    assert len(set(expected)) > 3


def guesses_of(clues: plain.Grid, box: tuple[int, int]) -> int:
    """The definition, in recursion."""
    count = 0

    def solve(given: list[int]) -> bool:
        nonlocal count
        found = plain.after_singles(given, box)
        left = {cell: plain.candidates(found, cell, box) for cell, digit in enumerate(found) if not digit}
        blocked = any(
            not any(found[cell] == digit or digit in left.get(cell, ()) for cell in unit)
            for unit in plain.units(box)
            for digit in range(1, box[0] * box[1] + 1)
        )
        if blocked or not all(left.values()):
            return False
        if not left:
            return True
        cell = min(left, key=lambda one: (len(left[one]), one))
        for digit in sorted(left[cell]):
            count += 1
            if solve([*found[:cell], digit, *found[cell + 1 :]]):
                return True
        return False

    assert solve(list(clues))
    return count


def test_it_gives_up_where_it_is_told_to() -> None:
    needed = graded(plain.grid(plain.HARD), NINE)[1]
    assert graded(plain.grid(plain.HARD), NINE, most=needed - 1)[0] == -1


@pytest.fixture(scope="module")
def uncompiled() -> ModuleType:
    """The same source where there is no numba."""
    specification = importlib.util.spec_from_file_location("uncompiled_search", search.__file__)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numba", None)
        specification.loader.exec_module(module)
    return module


@pytest.mark.skipif(not search.COMPILED, reason="numba is not installed, so there is nothing compiled")
def test_compiled_functions_do_what_the_plain_ones_do(uncompiled: ModuleType) -> None:
    assert not uncompiled.COMPILED
    for text, box in ((plain.EASY, NINE), (plain.HARD, NINE), (plain.SMALL, SMALL)):
        assert graded(plain.grid(text), box) == graded(plain.grid(text), box, by=uncompiled)
    for box, easy in ((SMALL, False), ((2, 3), False), ((2, 3), True)):
        there, N = board(box), box[0] * box[1]
        rng = np.random.default_rng(N)
        rank, order = rng.random((N * N, N)).argsort(1), rng.permutation(N * N)
        results = []
        for by in (search, uncompiled):
            board_of = np.zeros(N * N, np.int64)
            assert by.fill(there.units, there.peers, rank, board_of, 1000)
            left = by.dig(board_of, there.units, there.peers, rank, order, easy, 0, 1000)
            results.append((left, board_of.tolist()))
        assert results[0] == results[1]
        assert 0 < results[0][0] < N * N


def test_a_dug_puzzle_is_the_same_uncompiled(uncompiled: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    config = GeneratorConfig(size=4)
    expected = generate(config, 3, seed=1)
    monkeypatch.setattr("headwise.tasks.sudoku.search", uncompiled)
    assert np.array_equal(generate(config, 3, seed=1).clues, expected.clues)
