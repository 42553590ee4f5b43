"""Metrics of walks and of marked grids, and their intervals."""

import itertools

import numpy as np
import pytest
import torch

from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import Mazes
from headwise.tasks.maze.metrics import by_length, is_path, is_shortest_path, is_simple_walk, of_grid, of_moves, of_walk
from headwise.tasks.maze.walkers import Walk, walk
from headwise.tasks.proportions import proportion


def square():
    """Four cells with all passages open, from corner to opposite corner: two shortest paths of two edges."""
    passages = np.ones((1, 2, 2, 4), dtype=bool)
    passages[:, 0, :, 0] = passages[:, :, 1, 1] = passages[:, 1, :, 2] = passages[:, :, 0, 3] = False
    return tensors(Mazes.solve(passages, np.array([0]), np.array([3])))


def perfect(number=50):
    return tensors(generate(GeneratorConfig(size=7, min_path_length=12), number, seed=0))


@pytest.mark.parametrize(
    ("marks", "exact"),
    [
        ([[1, 1], [0, 1]], True),
        ([[1, 0], [1, 1]], True),
        ([[1, 1], [1, 1]], False),
        ([[1, 0], [0, 1]], False),
        ([[0, 1], [1, 1]], False),
        ([[1, 1], [1, 0]], False),
        ([[0, 0], [0, 0]], False),
    ],
)
def test_every_shortest_path_is_an_exact_grid_and_nothing_else_is(marks, exact):
    assert of_grid(torch.tensor([marks]), square())["exact_grid"].tolist() == [float(exact)]


def test_in_a_perfect_maze_exact_means_equal_to_the_path():
    batch = perfect()
    path, numbers = batch["on_path"], torch.Generator().manual_seed(0)
    assert is_shortest_path(path, batch).all()
    flipped = path ^ (torch.rand(path.shape, generator=numbers) < 0.01)
    assert torch.equal(is_shortest_path(flipped, batch), (flipped == path).all(2).all(1))
    assert 0 < is_shortest_path(flipped, batch).sum() < 50


def test_with_loops_exact_means_a_way_of_the_shortest_length():
    mazes = generate(GeneratorConfig(size=6, family="percolation", loops=0.6, min_path_length=6), 60, seed=0)
    batch = tensors(mazes)
    other = walk(batch, batch["optimal"] * torch.tensor([1.0, 2.0, 3.0, 4.0]))
    marked = torch.zeros(60, 36, dtype=torch.bool)
    for row, cells in zip(marked, other.cells, strict=True):
        row[cells[cells >= 0]] = True
    marked = marked.reshape(60, 6, 6)
    assert (marked != batch["on_path"]).flatten(1).any(1).sum() > 10  # another path than the stored one
    assert is_shortest_path(marked, batch).all()
    assert of_walk(other, batch)["optimal"].eq(1).all()


def test_a_path_that_is_too_long_does_not_move_the_ceiling():
    passages = np.ones((1, 2, 2, 4), dtype=bool)
    passages[:, 0, :, 0] = passages[:, :, 1, 1] = passages[:, 1, :, 2] = passages[:, :, 0, 3] = False
    detour = tensors(Mazes(passages, np.array([0]), np.array([1]), np.array([[0, 2, 3, 1]])))  # one move would do
    assert detour["length"].tolist() == [1]
    straight = of_walk(walk(detour, detour["optimal"].float()), detour)
    assert (straight["optimal"].item(), straight["excess_length"].item()) == (1.0, 0.0)
    assert of_grid(detour["on_path"], detour)["exact_grid"].tolist() == [0.0]
    assert detour["on_path"].sum() == 4


def test_shares_of_a_grid_count_cells_of_the_path_and_all_cells():
    batch = square()
    found = of_grid(torch.ones(1, 2, 2), batch)
    assert found["path_accuracy"].tolist() == [1.0]
    assert found["cell_accuracy"].tolist() == [0.75]
    assert of_grid(torch.zeros(1, 2, 2), batch)["path_accuracy"].tolist() == [0.0]


def test_a_walk_is_optimal_only_in_the_smallest_number_of_moves():
    batch = {"length": torch.tensor([2, 2, 2])}
    cells = torch.tensor([[0, 1, 3, -1, -1], [0, 1, 0, 2, 3], [0, 1, 0, -1, -1]])
    found = of_walk(Walk(cells, torch.tensor([True, True, False])), batch)
    assert found["reached"].tolist() == [1, 1, 0]
    assert found["optimal"].tolist() == [1, 0, 0]
    assert found["excess_length"][:2].tolist() == [0, 2]
    assert found["excess_length"][2].isnan()


def test_path_accuracy_of_moves_asks_on_the_path_alone():
    batch = perfect()
    assert of_moves(batch["optimal"].float(), batch)["path_accuracy"].eq(1).all()
    beside = batch["optimal"] & batch["on_path"][..., None]
    assert of_moves(beside.float(), batch)["path_accuracy"].eq(1).all()
    # Away from the goal wherever the path allows it: only the start may have nowhere else to go.
    away = of_moves((~batch["optimal"]).float(), batch)["path_accuracy"]
    assert (away <= 1 / batch["length"]).all()


def test_scores_of_closed_passages_have_no_effect_on_path_accuracy():
    batch = perfect()
    scores = torch.where(batch["open"], batch["optimal"].float(), 9.0)
    assert of_moves(scores, batch)["path_accuracy"].eq(1).all()


def test_a_proportion_has_its_wilson_interval():
    found = proportion(torch.tensor([1.0] * 8 + [0.0] * 2))
    assert (found.share, found.n) == (0.8, 10)
    assert (found.low, found.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson (1927), as tabulated
    assert proportion(torch.ones(1000)).low == pytest.approx(1 / (1 + 1.959964**2 / 1000), abs=1e-6)
    assert (proportion(torch.zeros(0)).low, proportion(torch.zeros(0)).high) == (0, 1)


def test_the_table_over_lengths_covers_every_maze_once():
    length = torch.tensor([3, 3, 3, 3, 5, 7, 7, 9, 20, 21])
    values = torch.tensor([1, 1, 1, 0, 1, 0, 0, 1, 0, 0.0])
    table = by_length(values, length, rows=3)
    assert sum(row.value.n for row in table) == 10
    assert sum(row.value.share * row.value.n for row in table) == pytest.approx(5)
    assert (table[0].shortest, table[0].longest, table[0].value.share) == (3, 3, 0.75)
    assert all(before.longest < after.shortest for before, after in itertools.pairwise(table))
    assert table[-1].longest == 21
    assert [row.value.n for row in by_length(torch.ones(4), torch.full((4,), 6))] == [4]
    assert by_length(torch.zeros(0), torch.zeros(0, dtype=torch.int64)) == []


def test_marks_are_one_way_whether_or_not_it_is_a_shortest_one():
    passages = np.ones((1, 2, 3, 4), dtype=bool)
    passages[:, 0, :, 0] = passages[:, :, 2, 1] = passages[:, 1, :, 2] = passages[:, :, 0, 3] = False
    passages[:, 0, 1, 1] = passages[:, 0, 2, 3] = passages[:, 0, 0, 2] = passages[:, 1, 0, 0] = False
    cells = np.zeros((1, 3, 3, 4), dtype=bool)  # three rows, of which the last is blocked
    cells[:, :2] = passages
    batch = tensors(Mazes.solve(cells, np.array([0]), np.array([5])))
    way, spur, gap = (torch.zeros(1, 3, 3, dtype=torch.bool) for _ in range(3))
    for cell in ((0, 0), (0, 1), (1, 1), (1, 2)):
        way[0][cell] = spur[0][cell] = gap[0][cell] = True
    spur[0, 1, 0], gap[0, 0, 0] = True, False
    assert [is_path(marked, batch).item() for marked in (way, spur, gap)] == [True, False, False]
    assert is_shortest_path(way, batch).item()


def test_a_walk_is_simple_if_it_comes_to_the_goal_and_goes_through_no_cell_twice():
    cells = torch.tensor([[0, 1, 3, -1, -1], [0, 1, 0, 2, 3], [0, 2, -1, -1, -1]])
    assert is_simple_walk(Walk(cells, torch.tensor([True, True, False]))).tolist() == [True, False, False]
