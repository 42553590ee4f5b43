"""The settings of the task `maze_characters`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from headwise.tasks.losses import LossKind
from headwise.tasks.maze.config import SetsConfig
from headwise.tasks.maze_characters.drawing import DrawingConfig

_DRAWN = DrawingConfig()


@dataclass(frozen=True)
class MazeCharactersConfig(SetsConfig):
    """Which mazes in characters, and how an answer is scored in training.

    Args:
        size: N, characters on a side, 5 to 64; default 11, a lattice of 5 x 5 cells. Published: 30. Mazes from files
            have to be of this size, too.
        family: of generated mazes: `depth_first` (default; long corridors) or `spanning_tree` (short dead ends). Both
            have one way between any two characters, so that the answer is the only one.
        min_path_length, max_path_length: of generated mazes, in moves from character to character, two for a move on
            the lattice; default 1 and null, any. About as in the public set at size 30: 100 and 140.
        loss: cross-entropy over all characters under `softmax` (default), or under `stablemax`, as TRM is trained.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    of_generated: ClassVar[tuple[str, ...]] = ("family", "min_path_length", "max_path_length")

    size: int = _DRAWN.size
    family: Literal["depth_first", "spanning_tree"] = _DRAWN.family
    min_path_length: int = _DRAWN.min_path_length
    max_path_length: int | None = _DRAWN.max_path_length
    loss: LossKind = "softmax"

    @property
    def generator(self) -> DrawingConfig:
        """Which mazes are generated."""
        return DrawingConfig(self.size, self.family, self.min_path_length, self.max_path_length)
