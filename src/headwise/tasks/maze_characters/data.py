"""Training, validation and test sets of mazes in characters, and what can be answered without training."""

from __future__ import annotations

from torch import Tensor

from headwise.errors import InputError
from headwise.tasks.base import Source
from headwise.tasks.maze.data import MazeSets, MazeSource
from headwise.tasks.maze.lattice import Mazes
from headwise.tasks.maze_characters import references
from headwise.tasks.maze_characters.config import MazeCharactersConfig
from headwise.tasks.maze_characters.drawing import thin_walls


class MazeCharactersData(MazeSets):
    """Mazes for the task `maze_characters`."""

    config: MazeCharactersConfig

    def references(self, source: Source) -> dict[str, Tensor]:
        """Copying the question, walkers, and a search, in the share of mazes that are exact. See `references`."""
        return self.references_by_metric(source)["exact"]

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """The same in every metric."""
        assert isinstance(source, MazeSource)
        return references.by_metric(source.mazes, source.examples, self.seed)

    def check(self, name: str, mazes: Mazes) -> None:
        """Mazes of a lattice, whose cells touch across walls, are refused."""
        thin = thin_walls(mazes)
        if thin.any():
            from_test_file = name == "test" and self.config.test_file is not None
            key = "test_file" if from_test_file else "file"
            raise InputError(
                f"task.{key}={getattr(self.config, key)}: {int(thin.sum())} of {len(thin)} {name} mazes have walls "
                "between open cells that touch, for which characters have no place; choose mazes in characters (a .csv "
                "in the layout of Maze-Hard), or task=maze"
            )
