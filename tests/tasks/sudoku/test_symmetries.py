"""A sudoku with other names, in another order of bands and lines, or turned over is a sudoku, and the same one."""

import numpy as np
import pytest
import torch

from headwise.tasks.sudoku.board import Puzzles, valid
from headwise.tasks.sudoku.data import SudokuSource
from headwise.tasks.sudoku.generate import GeneratorConfig, generate
from headwise.tasks.sudoku.symmetries import of_puzzles, of_solutions
from tests.tasks.sudoku import plain

BOXES = [(2, 2), (2, 3), (3, 2)]


def puzzles(box: tuple[int, int], number: int = 4) -> Puzzles:
    return generate(GeneratorConfig(size=box[0] * box[1], box=box), number, seed=0)


@pytest.mark.parametrize("box", BOXES)
def test_every_image_is_a_puzzle_with_its_solution(box: tuple[int, int]) -> None:
    source = SudokuSource(puzzles(box), symmetries=True)
    batch = source.batch(torch.arange(4).repeat(20) + 4 * torch.arange(80))
    clues, solution = batch["clues"].numpy(), batch["solution"].numpy()
    assert valid(solution.astype(np.int8), box).all()
    assert ((clues == 0) | (clues == solution)).all()
    assert ((clues > 0).sum(1).reshape(20, 4) == source.puzzles.n_clues).all()


def test_images_of_a_4_x_4_puzzle_are_those_of_its_group_and_all_of_them_occur() -> None:
    one = puzzles((2, 2), 1)
    batch = SudokuSource(one).batch(torch.arange(1, 4001))
    found = {tuple(row) for row in (batch["clues"] > 0).long().tolist()}
    clues = one.clues[0]
    assert found == {tuple((clues[list(cells)] > 0).astype(int).tolist()) for cells in plain.images((2, 2))}
    first = batch["solution"][:, 0]
    assert torch.bincount(first, minlength=5).tolist()[1:] == pytest.approx([1000] * 4, rel=0.15)


def test_boxes_that_are_not_square_are_not_transposed() -> None:
    one = puzzles((2, 3), 1)
    batch = SudokuSource(one).batch(torch.arange(1, 200))
    assert valid(batch["solution"].numpy().astype(np.int8), (2, 3)).all()
    assert len({tuple(row) for row in batch["clues"].tolist()}) > 190


def test_the_first_indices_are_the_puzzles_as_they_are_and_an_index_gives_the_same_in_any_batch() -> None:
    source = SudokuSource(puzzles((2, 2)), symmetries=True)
    assert np.array_equal(source.batch(torch.arange(4))["clues"].numpy(), source.puzzles.clues)
    together = source.batch(torch.tensor([2, 4 * 77 + 1, 4 * 2**30 + 3]))
    assert torch.equal(together["clues"][1:2], source.batch(torch.tensor([4 * 77 + 1]))["clues"])
    assert np.array_equal(together["clues"][0].numpy(), source.puzzles.clues[2])


def test_training_draws_symmetries_anew_in_each_epoch_and_seed_and_other_splits_draw_none() -> None:
    source = SudokuSource(puzzles((2, 2)), symmetries=True)
    (first,), (again,) = source.plan(4, 0, 0, True), source.plan(4, 0, 0, True)
    (later,), (other,) = source.plan(4, 0, 1, True), source.plan(4, 1, 0, True)
    assert torch.equal(first, again)
    for index in (first, later, other):
        assert sorted((index % 4).tolist()) == [0, 1, 2, 3]
        assert (index >= 4).all()
    assert not set((first // 4).tolist()) & set((later // 4).tolist())
    assert not set((first // 4).tolist()) & set((other // 4).tolist())
    assert torch.cat(source.plan(4, 0, 0, False)).max() == 3
    assert torch.cat(SudokuSource(puzzles((2, 2))).plan(4, 0, 0, True)).max() == 3


@pytest.mark.parametrize("box", BOXES)
def test_numbers_are_the_same_for_every_image(box: tuple[int, int]) -> None:
    one, rng, N = puzzles(box, 1), np.random.default_rng(0), box[0] * box[1]
    images = plain.images(box)
    number, of_solution = of_puzzles(one.clues, one.solution, box), of_solutions(one.solution, box)
    for place in rng.choice(len(images), 25, replace=False):
        cells, names = list(images[place]), np.concatenate([[0], rng.permutation(N) + 1]).astype(np.int8)
        clues, solution = names[one.clues[:, cells]], names[one.solution[:, cells]]
        assert of_puzzles(clues, solution, box) == number
        assert of_solutions(solution, box) == of_solution


def test_numbers_tell_puzzles_and_solutions_apart_that_are_not_symmetric() -> None:
    many = puzzles((2, 3), 12)
    numbers = of_puzzles(many.clues, many.solution, many.box)
    assert len(set(numbers.tolist())) == 12
    assert len(set(of_solutions(many.solution, many.box).tolist())) > 5
    fewer = many.clues.copy()
    fewer[0, fewer[0].nonzero()[0][0]] = 0
    assert of_puzzles(fewer, many.solution, many.box)[0] != numbers[0]
