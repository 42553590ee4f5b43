"""The two ends of the model: what it sees, what its loss is, what counts as right."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.models.arm import Arm
from headwise.models.sizes import ModelConfig
from headwise.tasks.base import Batch, TaskModel
from headwise.tasks.sudoku import SudokuConfig, SudokuTask
from headwise.tasks.sudoku.data import SudokuSource
from headwise.tasks.sudoku.generate import GeneratorConfig, generate
from headwise.tasks.sudoku.metrics import measure
from headwise.tasks.sudoku.symmetries import apply
from tests.tasks.sudoku import plain

STRUCTURAL = ModelConfig(width=16, heads=8, ffn=16, structural_heads=6)


def batch_of(*puzzles: tuple[str, str]) -> Batch:
    clues, solution = (torch.tensor([plain.grid(one[i]) for one in puzzles]) for i in range(2))
    return {"clues": clues, "solution": solution}


def task_of(**settings: Any) -> SudokuTask:
    return SudokuTask(SudokuConfig(**({"size": 4} | settings)), {}, 16)


SMALL = batch_of((plain.SMALL, plain.SMALL_SOLUTION))


def certain(answer: Tensor) -> Tensor:
    """Scores under which these digits are the best."""
    return torch.nn.functional.one_hot(answer - 1, int(answer.max())).double()


def test_cells_see_those_of_their_row_column_and_box_and_themselves() -> None:
    task = task_of(size=6)
    relations = task.layout({"clues": torch.zeros(1, 36, dtype=torch.int64)}).relations
    assert list(relations) == list(SudokuTask.relations(task.config)) == ["row", "column", "box"]
    for cell in range(36):
        seen = [set(one[0, cell].nonzero()[:, 0].tolist()) for one in relations.values()]
        assert seen == [set(unit) for unit in plain.units((2, 3)) if cell in unit]
    positions = task.layout({"clues": torch.zeros(1, 36, dtype=torch.int64)}).positions
    assert positions is not None
    assert positions[7].tolist() == [1, 1]


def test_without_positions_symmetric_puzzles_have_symmetric_answers() -> None:
    """But for names of digits, which have embeddings, and transposition: rows and columns have heads of their own."""
    torch.manual_seed(0)
    config = SudokuConfig(size=4, positions="none")
    model = TaskModel(task := SudokuTask(config, {}, 16), task.stack(STRUCTURAL, Arm())).double().eval()
    clues = SMALL["clues"]
    order = torch.tensor(plain.images((2, 2))[33])
    plain_states, moved_states = model({"clues": clues}).states[-1], model({"clues": clues[:, order]}).states[-1]
    torch.testing.assert_close(moved_states, plain_states[:, order])
    placed = SudokuTask(SudokuConfig(size=4), {}, 16)
    model = TaskModel(placed, placed.stack(STRUCTURAL, Arm())).double().eval()
    plain_states, moved_states = model({"clues": clues}).states[-1], model({"clues": clues[:, order]}).states[-1]
    assert not torch.allclose(moved_states, plain_states[:, order])


def test_of_blanks_alone_the_loss_sees_nothing_else_and_clues_are_filled_in() -> None:
    blanks, every = task_of(), task_of(asked="all")
    wrong = SMALL["solution"].clone()
    wrong[0, 0] = 3  # a clue
    scores = 5 * certain(wrong)
    changed = scores.clone()
    changed[0, 0] = 0
    assert torch.equal(blanks.loss(scores, SMALL), blanks.loss(changed, SMALL))
    assert not torch.equal(every.loss(scores, SMALL), every.loss(changed, SMALL))
    assert (blanks.terms(SMALL).item(), every.terms(SMALL).item()) == (plain.SMALL.count("."), 16)
    assert blanks.metrics(scores, SMALL)["exact"].item() == 1
    found = every.metrics(scores, SMALL)
    assert (found["exact"].item(), found["valid"].item(), found["blanks"].item()) == (0, 0, 1)


def test_the_loss_is_the_sum_of_nats_over_the_asked_cells() -> None:
    scores = torch.randn(1, 16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = 0.0
    for cell, digit in enumerate(plain.grid(plain.SMALL_SOLUTION)):
        if plain.SMALL[cell] == ".":
            row = scores[0, cell].tolist()
            expected += math.log(sum(map(math.exp, row))) - row[digit - 1]
    assert task_of().loss(scores, SMALL).item() == pytest.approx(expected)


def test_metrics_tell_exact_valid_and_changed_clues_apart() -> None:
    solution = SMALL["solution"]
    other = torch.tensor([plain.grid("3412123443212143")])  # a board, but with other clues
    swapped = solution.clone()
    swapped[0, [5, 6]] = swapped[0, [6, 5]]
    kept = torch.where(SMALL["clues"] > 0, SMALL["clues"], swapped)
    found = [measure(answer, SMALL, (2, 2)) for answer in (solution, other, kept)]
    assert [one["exact"].item() for one in found] == [1, 0, 0]
    assert [one["valid"].item() for one in found] == [1, 0, 0]
    assert found[0]["blanks"].item() == 1
    several = batch_of(("1...............", "1234341221434321"), ("1...............", "1234341243212143"))
    answer = several["solution"].flip(0)  # of a puzzle with several solutions another one is valid, not exact
    assert measure(answer, several, (2, 2))["valid"].tolist() == [1, 1]
    assert measure(answer, several, (2, 2))["exact"].tolist() == [0, 0]


def test_what_does_not_go_together_is_refused() -> None:
    none = SudokuConfig(size=4, positions="none")
    SudokuTask.check(none, STRUCTURAL)
    with pytest.raises(InputError, match=r"task.positions=none: no head sees rows, columns or boxes; choose model"):
        SudokuTask.check(none, ModelConfig())
    with pytest.raises(InputError, match=r"model.relative=2: task.positions=none"):
        SudokuTask.check(none, ModelConfig(structural_heads=6, relative=2))


def test_shifts_are_settings_of_other_grades_and_numbers_of_clues() -> None:
    shifts = SudokuTask.shifts(SudokuConfig(grade="singles"))
    assert shifts["grade"].trained == "singles"
    assert shifts["grade"].settings("3-9")["grade"] == [3, 9]
    assert shifts["clues"].settings(30) == {"file": None, "test_file": None, "grade_by": "guesses"} | {
        "clues": 30,
        "grade": "any",
    }
    with pytest.raises(ValueError, match="hard: choose singles, any, or the least and the most guesses, as 1-10"):
        shifts["grade"].settings("hard")


def test_an_image_of_a_batch_has_the_image_of_its_answer_as_its_answer() -> None:
    source = SudokuSource(generate(GeneratorConfig(size=4), 3, 0))
    batch = source.batch(torch.arange(3))
    moved = apply([batch["clues"], batch["solution"]], (2, 2), torch.tensor([3, 4, 5]))
    found = task_of().metrics(certain(moved[1]), dict(zip(("clues", "solution"), moved, strict=True)))
    assert np.array_equal(found["exact"].numpy(), np.ones(3, np.float32))
