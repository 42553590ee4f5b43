"""Metrics of answers against counting, and references."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from headwise.tasks.base import Batch
from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.generate import generate
from headwise.tasks.maze.lattice import Mazes
from headwise.tasks.maze.metrics import is_path
from headwise.tasks.maze_characters.characters import GOAL, OPEN, PATH, START, WALL, answer, marked, marks, question
from headwise.tasks.maze_characters.drawing import DrawingConfig, between
from headwise.tasks.maze_characters.metrics import agrees, of_answer
from headwise.tasks.maze_characters.references import by_metric


def grid(*rows: str) -> Mazes:
    """One maze from rows of characters."""
    text = "".join(rows)
    free = np.array([character != "#" for character in text]).reshape(1, len(rows), -1)
    return Mazes.solve(between(free), np.array([text.index("S")]), np.array([text.index("G")]))


def ways(cell: int, goal: int, near: dict[int, set[int]], before: tuple[int, ...] = ()) -> Iterator[frozenset[int]]:
    """All ways from a cell to the goal that do not touch themselves, as sets of cells."""
    way = (*before, cell)
    if cell == goal:
        yield frozenset(way)
        return
    for onward in near[cell]:
        if onward not in way and near[onward] & set(way) == {cell}:
            yield from ways(onward, goal, near, way)


def test_of_all_markings_those_are_valid_that_are_one_way() -> None:
    mazes = grid("S G ", "    ", "    ", "   #")
    near = {
        cell: {cell + (-4, 1, 4, -1)[d] for d in np.flatnonzero(way)}
        for cell, way in enumerate(mazes.open.reshape(16, 4))
    }
    expected = set(ways(0, 2, near))
    between_ends = torch.cartesian_prod(*[torch.tensor([False, True])] * 14)
    marked = torch.ones(len(between_ends), 16, dtype=torch.bool)
    marked[:, [cell for cell in range(16) if cell not in (0, 2)]] = between_ends
    batch = {name: array.expand(len(marked), *array.shape[1:]) for name, array in tensors(mazes).items()}
    found = is_path(marked.view(-1, 4, 4), batch)
    assert {frozenset(row.nonzero()[:, 0].tolist()) for row in marked[found]} == expected
    assert len(expected) > 5
    ring = {4 * row + column for row in (2, 3) for column in (0, 1)}  # has no open end, and is joined to no way
    assert frozenset({0, 1, 2}) in expected
    assert frozenset({0, 1, 2} | ring) not in expected


def test_of_two_shortest_ways_one_is_exact_and_both_are_optimal() -> None:
    batch = tensors(grid("S    ", " ### ", "    G", "#####", "#####"))
    above = torch.zeros(1, 5, 5, dtype=torch.bool)
    above[0, 0], above[0, 1, 4], above[0, 2, 4] = True, True, True
    below = torch.zeros(1, 5, 5, dtype=torch.bool)
    below[0, 2], below[0, 1, 0], below[0, 0, 0] = True, True, True
    found = [of_answer(marked(batch, way), batch) for way in (above, below)]
    assert sorted(one["exact"].item() for one in found) == [0, 1]
    assert sorted(one["characters_right"].item() for one in found) == pytest.approx([1 - 10 / 25, 1])
    assert [one[name].item() for one in found for name in ("optimal", "valid")] == [1, 1, 1, 1]


def answers(batch: Batch, **changes: int) -> dict[str, float]:
    written = answer(batch)
    for cell, character in changes.items():
        written[0, int(cell[1:])] = character
    return {name: value.item() for name, value in of_answer(written, batch).items()}


def test_one_wrong_character_is_not_exact_whatever_it_is() -> None:
    batch = tensors(grid("S   #", "###  ", "    #", "# ###", "#G   "))
    assert answers(batch) == {"exact": 1, "optimal": 1, "valid": 1, "characters_right": 1}
    # A wall called open, the start called open, a path beside the way, a path through a wall, a gap
    for changes, way in (
        ({"c5": OPEN}, 1),
        ({"c0": OPEN}, 1),
        ({"c23": PATH}, 0),
        ({"c5": PATH}, 0),
        ({"c2": OPEN}, 0),
    ):
        found = answers(batch, **changes)
        assert found["exact"] == 0
        assert found["characters_right"] == pytest.approx(24 / 25)
        assert (found["optimal"], found["valid"]) == (way, way), changes


def test_a_detour_is_valid_but_not_optimal() -> None:
    batch = tensors(grid("S G##", " #  #", " ## #", "    #", "#####"))
    detour = torch.zeros(1, 5, 5, dtype=torch.bool)
    for row, column in ((0, 0), (1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (3, 3), (2, 3), (1, 3), (1, 2), (0, 2)):
        detour[0, row, column] = True
    found = of_answer(marked(batch, detour), batch)
    assert [found[name].item() for name in ("exact", "optimal", "valid")] == [0, 0, 1]


def test_references_are_answers_scored_as_any_other() -> None:
    mazes = generate(DrawingConfig(9), 60, 0, "test")
    batch = tensors(mazes)
    found = by_metric(mazes, batch, seed=0)
    for metric, values in found.items():
        assert (values["breadth_first"] == 1).all()
        assert (values["ceiling"] == 1).all()
        assert values["floor"].mean() == max(values[name].mean() for name in ("copy", "random", "toward_goal"))
        assert values["floor"].mean() < 1
        assert values["copy"].equal(of_answer(question(batch), batch)[metric])
    # The question is its own answer where start and goal touch
    assert found["exact"]["copy"].bool().equal(torch.from_numpy(mazes.length == 1))


def test_marks_and_characters_are_two_ways_to_write_the_same() -> None:
    batch = tensors(generate(DrawingConfig(8), 20, 0))
    assert marks(answer(batch), batch).equal(batch["on_path"])
    assert set(question(batch).unique().tolist()) == {WALL, OPEN, START, GOAL}


def test_an_answer_agrees_with_the_question_where_nothing_but_a_way_is_written_into_it() -> None:
    batch = tensors(grid("S G ", "    ", "    ", "   #"))
    right = answer(batch)
    longer = question(batch)
    longer[0, [4, 5, 6]] = PATH
    wall, end, broken = right.clone(), right.clone(), question(batch)
    wall[0, 15], end[0, 2] = OPEN, PATH
    for written, expected in ((right, True), (longer, True), (wall, False), (end, False), (broken, False)):
        assert agrees(written, batch).tolist() == [expected]
