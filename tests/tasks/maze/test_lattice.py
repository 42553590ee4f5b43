"""Searching mazes: against a queue in plain Python, and by what must hold between neighbours."""

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.tasks.maze import lattice
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import (
    NOWHERE,
    Mazes,
    check,
    excess,
    goal_distance,
    neighbours,
    optimal_moves,
    search,
    strides,
)
from tests.tasks.maze import plain


def mazes(size=6, family="percolation", number=30):
    return generate(GeneratorConfig(size=size, family=family), number, seed=0)


def corridor():
    """Three cells in the upper row of 3 x 3, all others blocked."""
    passages = np.zeros((1, 3, 3, 4), dtype=bool)
    passages[0, 0, :2, 1] = passages[0, 0, 1:, 3] = True
    return Mazes.solve(passages, np.array([0]), np.array([2]))


@pytest.mark.parametrize("family", ["depth_first", "spanning_tree", "percolation"])
def test_distances_are_those_of_a_plain_search(family):
    some = mazes(family=family)
    distance, parent = search(some.open, some.start)
    for i in range(len(some)):
        assert distance[i].tolist() == plain.distances(some.open[i].tolist(), int(some.start[i]))
    rows, cells = np.nonzero(parent != NOWHERE)
    assert len(rows) == 30 * 35  # all but the sources
    assert (distance[rows, parent[rows, cells]] == distance[rows, cells] - 1).all()
    assert neighbours(some.open)[rows, parent[rows, cells], cells].all()


def test_a_large_batch_is_searched_in_parts_with_the_same_result(monkeypatch):
    some = mazes()
    whole = search(some.open, some.goal)
    monkeypatch.setattr(lattice, "_NODES", 100)
    for one, other in zip(whole, search(some.open, some.goal), strict=True):
        assert (one == other).all()


def test_the_path_of_a_maze_does_not_depend_on_the_mazes_around_it():
    some = mazes()
    for i in range(len(some)):
        one = some[[i]]
        alone = Mazes.solve(one.open, one.start, one.goal)
        assert alone.path[0].tolist() == some.path[i, : int(some.length[i]) + 1].tolist()


def test_cells_without_a_way_have_no_distance_and_an_unsolvable_maze_no_path():
    one = corridor()
    assert goal_distance(one)[0].tolist() == [[2, 1, 0], [-1, -1, -1], [-1, -1, -1]]
    assert one.path.tolist() == [[0, 1, 2]]
    assert Mazes.solve(one.open, np.array([0]), np.array([8])).length.tolist() == [-1]


def test_optimal_moves_are_all_those_that_shorten_the_way_by_one():
    some = mazes()
    distance, moves = goal_distance(some).reshape(30, -1), optimal_moves(some).reshape(30, -1, 4)
    for i, cell, direction in np.argwhere(some.open.reshape(30, -1, 4)):
        nearer = distance[i, cell + strides(6)[direction]] == distance[i, cell] - 1
        assert moves[i, cell, direction] == nearer
    assert not (moves & ~some.open.reshape(30, -1, 4)).any()
    assert (moves.any(-1) == (distance > 0)).all()


def test_a_perfect_maze_has_one_optimal_move_per_cell():
    assert (optimal_moves(mazes(family="depth_first")).sum(-1).sum((1, 2)) == 35).all()


def test_neighbours_are_the_open_passages():
    some = mazes()
    connected = neighbours(some.open)
    assert (connected == connected.swapaxes(1, 2)).all()
    assert (connected.sum(-1) == some.open.sum(-1).reshape(30, -1)).all()
    assert not connected[:, np.arange(36), np.arange(36)].any()


def test_joined_mazes_keep_their_paths():
    short, long = mazes(family="spanning_tree"), mazes(family="depth_first")
    both = Mazes.join([short, long])
    check(both)
    assert both.length.tolist() == [*short.length, *long.length]
    assert both.on_path.sum((1, 2)).tolist() == [*(short.length + 1), *(long.length + 1)]


def test_a_detour_is_counted_and_not_refused():
    passages = np.ones((1, 2, 2, 4), dtype=bool)
    passages[:, 0, :, 0] = passages[:, :, 1, 1] = passages[:, 1, :, 2] = passages[:, :, 0, 3] = False
    detour = Mazes(passages, np.array([0]), np.array([1]), np.array([[0, 2, 3, 1]]))
    check(detour)
    assert excess(detour).tolist() == [2]


def border(some):
    some.open[4, 5, 2, 2] = True


def one_sided(some):
    some.open[4, 2, 2, 1] ^= True


def same_ends(some):
    some.goal[4] = some.start[4]


def outside(some):
    some.goal[4] = 36


def walled_in(some):
    row, column = divmod(int(some.goal[4]), 6)
    some.open[4, row, column] = False
    for direction, (down, right) in enumerate(plain.STEPS):
        if 0 <= row + down < 6 and 0 <= column + right < 6:
            some.open[4, row + down, column + right, (direction + 2) % 4] = False


def jump(some):
    some.path[4, 1] = some.goal[4]
    some.path[4, 2:] = NOWHERE


def through_a_wall(some):
    first, second = some.path[4, :2]
    direction = int((strides(6) == second - first).argmax())
    some.open[4].reshape(36, 4)[first, direction] = False
    some.open[4].reshape(36, 4)[second, (direction + 2) % 4] = False


def gap(some):
    some.path[4, 1] = NOWHERE


def no_path(some):
    some.path[4] = NOWHERE


def below(some):
    some.path[4, 1] = -5


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (border, r"cell \(5, 2\) is open to the border \(down\)"),
        (one_sided, "open from one side only"),
        (same_ends, "start and goal are the same cell"),
        (outside, "goal is cell 36; choose 0..35"),
        (walled_in, "unsolvable"),
        (jump, "the path goes through a wall"),
        (through_a_wall, "the path goes through a wall"),
        (gap, "does not lead from start to goal"),
        (no_path, "does not lead from start to goal"),
        (below, "does not lead from start to goal"),
    ],
)
def test_a_damaged_maze_is_refused_by_its_number(damage, message):
    some = generate(GeneratorConfig(size=6, family="percolation", loops=0.5, min_path_length=4), 9, seed=0)
    check(some)
    damage(some)
    with pytest.raises(InputError, match=f"^set 4: .*{message}") as error:
        check(some, "set {}".format)
    assert "\n" not in str(error.value)
