"""Mazes drawn in characters: how a lattice is framed, that there is one way, and which lengths occur."""

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.tasks.base import SPLITS
from headwise.tasks.maze import families
from headwise.tasks.maze import generate as generator
from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import NOWHERE, search
from headwise.tasks.maze_characters.characters import CHARACTERS, answer, question
from headwise.tasks.maze_characters.drawing import DrawingConfig, between, drawn, thin_walls


def lines(grid):
    """A grid bool [N, N] as text."""
    return ["".join(" " if free else "#" for free in row) for row in grid]


def corner():
    """Two cells above two: the left ones joined, and the lower ones."""
    lattice = np.zeros((1, 2, 2, 4), dtype=bool)
    lattice[0, 0, 0, 2] = lattice[0, 1, 0, 0] = lattice[0, 1, 0, 1] = lattice[0, 1, 1, 3] = True
    return lattice


def test_an_odd_side_has_a_frame_and_an_even_one_only_above_and_on_the_left():
    assert lines(drawn(corner(), 5)[0]) == ["#####", "# # #", "# ###", "#   #", "#####"]
    assert lines(drawn(corner(), 4)[0]) == ["####", "# # ", "# ##", "#   "]


@pytest.mark.parametrize("size", [5, 6, 11, 30])
def test_every_character_that_is_open_is_reached_on_one_way(size):
    mazes = generate(DrawingConfig(size), 5, seed=0)
    n, free = size // 2, mazes.open.any(-1)
    assert (free.sum((1, 2)) == 2 * n * n - 1).all()  # cells, and the passages of a tree
    assert (mazes.open.sum((1, 2, 3)) == 2 * (2 * n * n - 2)).all()  # as many joints as a tree of these has
    distance, _ = search(mazes.open, mazes.start)
    assert ((distance != NOWHERE).reshape(free.shape) == free).all()


def test_a_move_on_the_lattice_is_two_in_characters():
    lattice = families.depth_first(3, 4, np.random.default_rng(0))
    grid = between(drawn(lattice, 9))
    rows, columns = np.divmod(np.arange(16), 4)
    places = (2 * rows + 1) * 9 + 2 * columns + 1
    source = np.array([0, 5, 15])
    coarse, _ = search(lattice, source)
    fine, _ = search(grid, places[source])
    assert (fine[:, places] == 2 * coarse).all()


def test_lengths_are_in_the_range_and_ends_anywhere_on_it():
    mazes = generate(DrawingConfig(11, min_path_length=7, max_path_length=10), 200, seed=1)
    assert set(mazes.length.tolist()) == {7, 8, 9, 10}
    for cell in (mazes.start, mazes.goal):
        assert set((cell // 11 % 2).tolist()) == {0, 1}
        assert mazes.open.any(-1).reshape(200, -1)[np.arange(200), cell].all()
    spanning = generate(DrawingConfig(11, "spanning_tree", 7, 10), 200, seed=1)
    assert not set(map(bytes, spanning.open)) & set(map(bytes, mazes.open))


def test_no_candidate_is_wasted_on_a_start_in_a_wall():
    config = DrawingConfig(11)
    assert generator._draw(config, [0, config.stream, 0, 11, 0]).longest.min() > 0


def test_splits_of_whatever_seeds_share_no_maze():
    found = [generate(DrawingConfig(5), 20, seed, split) for seed, split in enumerate(SPLITS)]
    asked = [{tuple(row) for row in question(tensors(mazes)).tolist()} for mazes in found]
    assert len(set().union(*asked)) == 60


def test_the_answer_is_the_question_with_the_way_between_the_ends_marked():
    mazes = generate(DrawingConfig(8, min_path_length=5), 30, seed=0)
    asked, answered = (("".join(CHARACTERS[c] for c in row) for row in f(tensors(mazes))) for f in (question, answer))
    for before, after, length, free in zip(asked, answered, mazes.length, mazes.open.any(-1), strict=True):
        assert [character != "#" for character in before] == free.flatten().tolist()
        assert (before.count("S"), before.count("G"), before.count("o")) == (1, 1, 0)
        assert after.count("o") == length - 1
        assert after.replace("o", " ") == before


def test_lattice_mazes_have_thin_walls_and_drawings_have_none():
    assert thin_walls(generate(GeneratorConfig(9), 4, seed=0)).all()
    assert not thin_walls(generate(DrawingConfig(9), 4, seed=0)).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 4}, r"size=4: choose 5\.\.64 characters"),
        ({"size": 65}, r"size=65: choose 5\.\.64 characters"),
        ({"family": "percolation"}, "family=percolation: choose one of depth_first, spanning_tree"),
        ({"min_path_length": 49}, r"min_path_length=49: choose 1\.\.48, a path through all of the 5 x 5 cells"),
        ({"min_path_length": 0}, r"min_path_length=0: choose 1\.\.48"),
        ({"min_path_length": 9, "max_path_length": 8}, r"max_path_length=8: choose 9 \(min_path_length\) or more"),
    ],
)
def test_drawings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DrawingConfig(**settings)


def test_lengths_that_never_occur_are_refused_with_the_rate():
    with pytest.raises(InputError, match=r"min_path_length=48: \d+ of \d+ mazes .*\(0\.\d+%\); choose 1\.\.\d+"):
        generate(DrawingConfig(11, "spanning_tree", min_path_length=48), 10, seed=0)
