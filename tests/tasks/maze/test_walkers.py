"""Walks: against one maze at a time in plain Python, with real walls, and the reference figures that are known."""

import itertools
import math

import pytest
import torch

from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.bench import PUBLISHED, reached_and_optimal
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import NOWHERE
from headwise.tasks.maze.walkers import at_random, references, scores_of_marks, toward_goal, walk
from tests.tasks.maze import plain


def mazes(family="percolation", number=40, size=6, least=6):
    return generate(GeneratorConfig(size=size, family=family, min_path_length=least), number, seed=0)


def fixed_scores(number=40, size=6):
    return torch.rand(number, size, size, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", ["depth_first", "percolation"])
def test_a_walk_is_that_of_the_protocol(family):
    some, scores = mazes(family), fixed_scores()
    found = walk(tensors(some), scores)
    for i in range(len(some)):
        expected = plain.walk(some.open[i].tolist(), int(some.start[i]), int(some.goal[i]), scores[i].tolist(), 36)
        assert found.cells[i, : len(expected)].tolist() == expected
        assert found.cells[i, len(expected) :].eq(NOWHERE).all()
        assert bool(found.reached[i]) == (expected[-1] == some.goal[i])
    assert 0 < found.reached.sum() < len(some)  # both ends of a walk were seen


def test_scores_asked_for_step_by_step_give_the_same_walks_in_one_call_per_step():
    batch, scores, asked = tensors(mazes()), fixed_scores().reshape(40, 36, 4), []

    def callback(maze, cell, _):
        asked.append(maze)
        return scores[maze, cell]

    found, same = walk(batch, callback), walk(batch, scores.reshape(40, 6, 6, 4))
    assert torch.equal(found.cells, same.cells)
    assert len(asked) == int(found.steps.max())
    for step, maze in enumerate(asked):
        assert maze.tolist() == (found.steps > step).nonzero()[:, 0].tolist()  # all still walking, and no other


def test_a_walk_does_not_depend_on_the_walks_beside_it():
    batch, scores = tensors(mazes()), fixed_scores()
    together = walk(batch, scores)
    for i in range(0, 40, 7):
        alone = walk({name: tensor[i : i + 1] for name, tensor in batch.items()}, scores[i : i + 1])
        steps = int(together.steps[i])
        assert alone.cells[0].tolist() == together.cells[i, : steps + 1].tolist()


@pytest.mark.parametrize("value", [0.0, math.inf, -math.inf, math.nan])
def test_no_score_leads_through_a_wall(value):
    some = mazes("depth_first")
    found = walk(tensors(some), torch.full((40, 6, 6, 4), value))
    for i, cells in enumerate(found.cells.tolist()):
        for here, there in itertools.pairwise(cells):
            if there != NOWHERE:
                direction = plain.STEPS.index((there // 6 - here // 6, there % 6 - here % 6))
                assert some.open[i, here // 6, here % 6, direction]


def test_walls_are_what_makes_a_maze_hard():
    """The original's evaluation walked through them: toward the goal then solves everything, and learning nothing."""
    batch = tensors(mazes("depth_first", number=300, size=8, least=26))
    crow = toward_goal(batch["goal"], 8, seed=0)
    without = {**batch, "open": torch.ones_like(batch["open"])}
    assert walk(without, crow).reached.all()
    assert walk(batch, crow).reached.float().mean() < 0.35


@pytest.mark.parametrize("family", ["depth_first", "spanning_tree", "percolation"])
def test_breadth_first_search_is_the_ceiling(family):
    some = mazes(family)
    found = references(some)["breadth_first"]
    assert found.reached.all()
    assert found.steps.tolist() == some.length.tolist()


def test_a_walk_ends_when_its_steps_are_used_up():
    some = mazes("depth_first")
    found = walk(tensors(some), tensors(some)["optimal"], max_steps=7)
    assert found.steps.max() == 7
    assert found.reached.tolist() == (some.length <= 7).tolist()
    assert walk(tensors(some), at_random(0), max_steps=0).steps.eq(0).all()


def test_a_walk_from_a_walled_in_cell_stays_there():
    batch = tensors(mazes())
    batch["open"] = torch.zeros_like(batch["open"])
    found = walk(batch, at_random(0))
    assert found.steps.eq(0).all()
    assert not found.reached.any()


def test_a_walk_follows_marked_cells():
    some = mazes()
    batch = tensors(some)
    found = walk(batch, scores_of_marks(batch["on_path"]))
    assert found.reached.all()
    assert (found.steps >= batch["length"]).all()
    perfect = tensors(mazes("depth_first"))
    assert torch.equal(walk(perfect, scores_of_marks(perfect["on_path"])).steps, perfect["length"])


def test_random_walks_depend_on_their_seed_alone():
    some = mazes()
    torch.manual_seed(5)
    first = references(some, seed=2)
    assert torch.equal(first["random"].cells, references(some, seed=2)["random"].cells)
    assert not torch.equal(first["random"].cells, references(some, seed=3)["random"].cells)


@pytest.mark.parametrize("config", PUBLISHED, ids=lambda config: f"{config.size}x{config.size}")
def test_the_reference_walkers_reach_what_is_known_of_them(config):
    found = reached_and_optimal(generate(config, 600, seed=0, split="test"))
    for name, known in PUBLISHED[config].items():
        for share, expected in zip(found[name], known, strict=True):
            # five standard errors of 600 mazes, and what rough scripts leave open
            assert share == pytest.approx(expected, abs=5 * (max(expected, 0.002) / 600) ** 0.5 + 0.01)
    assert found["breadth_first"] == (1.0, 1.0)
