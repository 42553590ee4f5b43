"""A maze turned or mirrored is a maze, with its path and its moves."""

import numpy as np
import pytest
import torch

from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.data import MazeSource
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.lattice import Mazes, check, excess
from headwise.tasks.maze.symmetries import COUNT, Symmetries

MAZES = generate(GeneratorConfig(size=5, family="percolation", loops=0.3, min_path_length=4), 6, seed=0)


def images(index: torch.Tensor) -> tuple[dict[str, torch.Tensor], Mazes]:
    batch = MazeSource(MAZES, symmetries=True).batch(index)
    return batch, Mazes(*(batch[key].numpy() for key in ("open", "start", "goal", "path")))


@pytest.mark.parametrize("symmetry", range(COUNT))
def test_every_image_is_a_maze_with_its_shortest_path_and_best_moves(symmetry: int) -> None:
    batch, mazes = images(torch.arange(6) + 6 * symmetry)
    check(mazes)
    assert (excess(mazes) == 0).all()
    solved = tensors(mazes)
    assert all(torch.equal(batch[name], solved[name]) for name in batch)


def test_the_first_indices_are_the_mazes_as_they_are_and_the_eight_images_differ() -> None:
    batch, _ = images(torch.arange(6))
    assert all(torch.equal(array, tensors(MAZES)[name]) for name, array in batch.items())
    batch, _ = images(6 * torch.arange(COUNT))
    assert len({array.numpy().tobytes() for array in batch["open"]}) == COUNT


def test_a_quarter_turn_takes_the_upper_left_corner_to_the_upper_right_and_up_to_right() -> None:
    tables = Symmetries.of(3)
    assert tables.cell_to[1, 0] == 2
    assert tables.cell_to[1, 1] == 5  # from the middle of the first row to the middle of the last column
    assert tables.direction_from[1].tolist() == [3, 0, 1, 2]  # what is up was left before
    assert tables.cell_to[4].tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]
    assert torch.equal(tables.cell_to.gather(1, tables.cell_from), torch.arange(9).expand(COUNT, -1))


def test_planted_directions_that_stay_behind_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    stay = torch.arange(4).expand(COUNT, -1)
    right = Symmetries.of

    def planted(size: int) -> Symmetries:
        tables = right(size)
        return Symmetries(tables.cell_from, tables.cell_to, stay)

    monkeypatch.setattr(Symmetries, "of", planted)
    with pytest.raises(ValueError, match="open to the border"):
        check(images(torch.arange(6, 12))[1])


def test_an_epoch_shows_every_maze_once_under_a_symmetry_of_its_own() -> None:
    source = MazeSource(MAZES, symmetries=True)

    def order(seed: int, epoch: int) -> torch.Tensor:
        return torch.cat(source.plan(4, seed, epoch, shuffle=True))

    assert [len(index) for index in source.plan(4, 0, 0, shuffle=True)] == [4, 2]
    assert sorted((order(0, 3) % 6).tolist()) == list(range(6))
    assert torch.equal(order(0, 3), order(0, 3))
    seen = torch.cat([order(0, epoch) // 6 for epoch in range(40)])
    assert (np.bincount(seen, minlength=COUNT) > 10).all()
    assert not torch.equal(order(0, 0), order(0, 1))
    assert not torch.equal(order(1, 0), order(0, 1))
    assert torch.equal(torch.cat(source.plan(4, 0, 0, shuffle=False)), torch.arange(6))
    assert torch.cat(MazeSource(MAZES).plan(4, 0, 0, shuffle=True)).max() < 6
