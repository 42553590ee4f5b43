"""Generated mazes: families by their definition, chance from the seed alone, exact numbers, disjoint splits."""

import re

import numpy as np
import pytest

from headwise.errors import InputError
from headwise.schema import build
from headwise.tasks.maze import families
from headwise.tasks.maze.generate import SPLITS, GeneratorConfig, _reach, generate
from headwise.tasks.maze.lattice import check, excess, search


def keys(mazes):
    """What makes two mazes the same."""
    return [
        (passages.tobytes(), int(start), int(goal))
        for passages, start, goal in zip(mazes.open, mazes.start, mazes.goal, strict=True)
    ]


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("size", [2, 3, 7, 16])
def test_every_maze_is_sound_solvable_and_comes_with_a_shortest_path(family, size):
    mazes = generate(GeneratorConfig(size=size, family=family), 9, seed=0)
    assert len(mazes) == 9
    check(mazes)
    assert (excess(mazes) == 0).all()
    assert (search(mazes.open, mazes.start)[0] >= 0).all()  # every cell can be reached


def test_the_largest_size_is_generated():
    check(generate(GeneratorConfig(size=64, family="spanning_tree"), 2, seed=0))


@pytest.mark.parametrize("family", families.TREES)
def test_perfect_mazes_are_trees(family):
    passages = families.TREES[family](20, 9, np.random.default_rng(0))
    assert (passages.sum((1, 2, 3)) == 2 * 80).all()  # one passage less than cells, counted from both sides
    assert (search(passages, np.zeros(20, dtype=np.int64))[0] >= 0).all()


def test_percolation_opens_the_stated_share_of_what_the_tree_left_closed():
    passages = families.percolation(200, 10, np.random.default_rng(0), loops=0.3)
    extra = passages.sum((1, 2, 3)) / 2 - 99  # of 180 - 99 = 81
    assert extra.mean() == pytest.approx(0.3 * 81, abs=5 * (0.3 * 0.7 * 81 / 200) ** 0.5)
    assert (families.percolation(1, 10, np.random.default_rng(0), loops=1.0).sum() == 2 * 180).all()


def test_depth_first_mazes_have_long_corridors_and_spanning_trees_short_dead_ends():
    def dead_ends(family):
        passages = families.TREES[family](300, 12, np.random.default_rng(0))
        return (passages.sum(-1) == 1).mean()

    assert dead_ends("depth_first") == pytest.approx(0.10, abs=0.02)  # known of the recursive backtracker
    assert dead_ends("spanning_tree") == pytest.approx(0.30, abs=0.03)  # and of Kruskal's algorithm


def test_the_backtracker_takes_every_free_direction_equally_often():
    for taken in range(15):
        free = [direction for direction in range(4) if not taken >> direction & 1]
        counts = np.bincount(families._CHOICE[taken], minlength=4)
        assert counts.tolist() == [12 // len(free) if direction in free else 0 for direction in range(4)]
    assert (families._CHOICE[15] == -1).all()


def test_depth_first_mazes_of_four_cells_are_equally_likely():
    """The closed passage of the square is uniform by symmetry."""
    passages = families.depth_first(4000, 2, np.random.default_rng(0))
    closed = [(~passages[:, 0, 0, 1]).sum(), (~passages[:, 0, 0, 2]).sum()]
    assert closed == pytest.approx([1000, 1000], abs=5 * (4000 * 3 / 16) ** 0.5)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_maze_depends_on_seed_split_and_index_alone(family):
    config = GeneratorConfig(size=6, family=family)
    many = keys(generate(config, 700, seed=3))  # more than a block of candidates
    assert keys(generate(config, 20, seed=3)) == many[:20]
    np.random.seed(1)
    assert keys(generate(config, 700, seed=3)) == many
    assert keys(generate(config, 20, seed=4)) != many[:20]
    assert not set(keys(generate(config, 700, seed=3, split="test"))) & set(many)


@pytest.mark.parametrize(("size", "least"), [(8, 26), (12, 58), (16, 102)])
def test_the_minimum_length_is_met_by_generating_on_until_the_number_is_exact(size, least):
    mazes = generate(GeneratorConfig(size=size, min_path_length=least), 300, seed=0)
    assert len(mazes) == 300
    assert mazes.length.min() >= least


def test_splits_share_no_maze_whatever_their_seeds_and_repeat_none():
    config = GeneratorConfig(size=3)
    found = {split: [keys(generate(config, 600, seed, split)) for seed in (0, 1)] for split in SPLITS}
    for seeds in found.values():
        assert all(len(set(one)) == 600 for one in seeds)
        assert set(seeds[0]) & set(seeds[1])  # at this size seeds do meet, so the test can fail
    together = [set().union(*map(set, seeds)) for seeds in found.values()]
    assert sum(map(len, together)) == len(set().union(*together))


def test_the_three_splits_make_up_all_mazes_of_four_cells():
    """Four trees, each with 4 * 3 ordered pairs of ends."""
    count = 0
    for split in SPLITS:
        with pytest.raises(InputError, match=f"only .* different mazes .* in the {split} split") as error:
            generate(GeneratorConfig(size=2), 1000, seed=0, split=split)
        most = int(re.search(r"choose at most (\d+)", str(error.value)).group(1))
        assert len(generate(GeneratorConfig(size=2), most, seed=0, split=split)) == most
        count += most
    assert count == 4 * 12


def test_the_start_is_uniform_when_any_length_will_do():
    mazes = generate(GeneratorConfig(size=5, family="spanning_tree"), 10_000, seed=0)
    counts = np.bincount(mazes.start, minlength=25)
    assert counts == pytest.approx(np.full(25, 400), abs=5 * 20)


def test_the_reach_of_a_cell_in_a_tree_is_the_distance_of_its_farthest_cell():
    passages = families.depth_first(12, 6, np.random.default_rng(0))
    farthest = np.stack([search(passages, np.full(12, cell))[0].max(1) for cell in range(36)], axis=1)
    far = search(passages, np.full(12, 20))[0].argmax(1)
    assert (_reach(passages, far) == farthest).all()


def test_a_length_that_practically_never_occurs_is_refused_with_the_measured_rate():
    with pytest.raises(InputError, match=r"min_path_length=102: \d of 2048 mazes .* \(0.\d\d%\); choose 1..") as error:
        generate(GeneratorConfig(size=16, family="spanning_tree", min_path_length=102), 100, seed=0)
    allowed = int(re.search(r"choose 1\.\.(\d+)", str(error.value)).group(1))
    config = GeneratorConfig(size=16, family="spanning_tree", min_path_length=allowed)
    assert len(generate(config, 10, seed=0)) == 10


def test_rare_lengths_are_found_as_long_as_new_mazes_come():
    """One maze in a thousand is accepted, so thousands of candidates bring none, though there are plenty."""
    config = GeneratorConfig(size=8, min_path_length=58)
    mazes = generate(config, 20, seed=1)
    assert len(set(keys(mazes))) == 20
    assert mazes.length.min() >= 58


def test_a_search_that_brings_no_new_maze_ends_with_the_accepted_share(monkeypatch):
    monkeypatch.setattr("headwise.tasks.maze.generate._FRUITLESS", 2048)
    with pytest.raises(InputError, match=r"accepted \d+ of \d+ drawn \(0\.\d\d%\).*choose at most \d+") as error:
        generate(GeneratorConfig(size=8, min_path_length=58), 20, seed=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 1}, "size=1: choose 2..64"),
        ({"size": 65}, "size=65: choose 2..64"),
        ({"size": 8, "min_path_length": 64}, "min_path_length=64: choose 1..63"),
        ({"min_path_length": 0}, "min_path_length=0: choose 1..63"),
        ({"family": "prim"}, "family=prim: choose one of depth_first, spanning_tree, percolation"),
        ({"loops": 0.1}, "loops=0.1: family=depth_first has none; choose family=percolation"),
        ({"family": "percolation", "loops": 0.0}, "loops=0.0: choose a number above 0, up to 1"),
        ({"side": 8}, "side=8: unknown key; allowed in maze: size, family"),
    ],
)
def test_impossible_values_are_refused_in_one_line_that_says_what_is_allowed(values, message):
    with pytest.raises(InputError, match=message) as error:
        build(GeneratorConfig, values, "maze")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("number", "seed", "split", "message"),
    [
        (0, 0, "train", "number=0: choose 1 or more"),
        (1, -1, "train", "seed=-1: choose 0 or more"),
        (1, 0, "dev", "split=dev: choose one of train, validation, test"),
    ],
)
def test_impossible_orders_are_refused(number, seed, split, message):
    with pytest.raises(InputError, match=message):
        generate(GeneratorConfig(), number, seed, split)
