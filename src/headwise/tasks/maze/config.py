"""The settings of the task `maze`; what is about sets of mazes, other tasks have, too."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from headwise.errors import InputError
from headwise.models.sizes import ModelConfig
from headwise.schema import FilePath, named
from headwise.tasks.maze.generate import Drawn, GeneratorConfig
from headwise.tasks.maze.read_outs import READ_OUTS, Grid, NextCell, ReadOutConfig
from headwise.tasks.maze.tokens import ENCODERS, EncoderConfig, NoEncoder

_GENERATED = GeneratorConfig()


@dataclass(frozen=True)
class SetsConfig:
    """How many mazes there are, where they come from, and what a token knows of its place.

    Args:
        size: N, cells on a side; default 8. Mazes from files have to be of this size, too.
        train_mazes, validation_mazes, test_mazes: how many; default 1000 each. Published: 1000 and, for test, 100, of
            which no share is known better than by 10 %.
        file: training mazes from a file in place of generated ones: .npz as `headwise data mazes` writes it, or .csv in
            the layout of Maze-Hard. Its last `test_mazes` are the test set, if there is no `test_file`, the
            `validation_mazes` before them the validation set, and its first `train_mazes` are trained on, but for those
            that are in the others, too.
        test_file: the first `test_mazes` of this file are the test set, whatever the rest comes from.
        symmetries: in training each maze is shown turned and mirrored at random, anew in each epoch; default true.
        positions: what a token knows of where its cell lies: `absolute` (default; learned embeddings of row and column,
            for this size alone), `relative` (nothing; attention knows offsets: with `model.relative`, so that weights
            work at every size, or along the rows one after the other with `model.rotary`), `none`.

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    of_generated: ClassVar[tuple[str, ...]] = ()
    """Keys that are about generated mazes, and so have no meaning beside `file`."""

    size: int = 8
    train_mazes: int = 1000
    validation_mazes: int = 1000
    test_mazes: int = 1000
    file: FilePath | None = None
    test_file: FilePath | None = None
    symmetries: bool = True
    positions: Literal["absolute", "relative", "none"] = "absolute"

    def __post_init__(self) -> None:
        _ = self.generator  # which refuses what it cannot generate
        for key in ("train_mazes", "validation_mazes", "test_mazes"):
            if getattr(self, key) < 1:
                raise ValueError(f"task.{key}={getattr(self, key)}: choose 1 or more")
        default = {field.name: field.default for field in fields(self)}
        changed = [key for key in self.of_generated if getattr(self, key) != default[key]]
        if self.file is not None and changed:
            now = " ".join(f"task.{key}={_word(getattr(self, key))}" for key in changed)
            remedy = " ".join(f"task.{key}={_word(default[key])}" for key in changed)
            raise ValueError(
                f"{now}: is about generated mazes, these come from task.file; choose {remedy}, or, if the file is "
                "for testing alone, task.test_file in place of task.file"
            )

    @property
    def generator(self) -> Drawn:
        """Which mazes are generated."""
        raise NotImplementedError

    def check_positions(self, model: ModelConfig) -> None:
        """Positions of the task and the backbone's bias by position have to go together.

        Raises:
            InputError: they do not.
        """
        if self.positions == "relative" and not (model.relative or model.rotary):
            raise InputError(
                "task.positions=relative: the backbone knows no offsets; choose model.relative=1 or more, up to "
                f"{self.size - 1}, or model.rotary=true (or task.positions=absolute)"
            )
        if self.positions == "none" and model.relative:
            raise InputError(
                f"model.relative={model.relative}: task.positions=none says nothing of where cells lie; use "
                "task.positions=relative, or model.relative=0"
            )
        if self.positions == "none" and model.rotary:
            raise InputError(
                "model.rotary=true: task.positions=none says nothing of where cells lie; use task.positions=relative, "
                "or model.rotary=false"
            )


@dataclass(frozen=True)
class MazeConfig(SetsConfig):
    """Which mazes, what of them the model sees, and what it is to tell.

    Args:
        family, min_path_length, loops: of generated mazes, as `headwise data mazes` has them. The least length is in
            moves; the published 0.4·N² is 25 for N=8, 57 for N=12, 102 for N=16.
        encoder: `none` (default) or `cnn`: a convolution over the grid, added to the tokens.
        read_out: `grid` (default; mark the path) or `next_cell` (tell the moves).

    Raises:
        ValueError: a value out of range, with what is allowed.
    """

    of_generated: ClassVar[tuple[str, ...]] = ("family", "min_path_length", "loops")

    family: Literal["depth_first", "spanning_tree", "percolation"] = _GENERATED.family
    min_path_length: int = _GENERATED.min_path_length
    loops: float | None = _GENERATED.loops
    encoder: EncoderConfig = named(ENCODERS, NoEncoder())
    read_out: ReadOutConfig = named(READ_OUTS, Grid())

    def __post_init__(self) -> None:
        super().__post_init__()
        longest = self.size**2 - 1
        if isinstance(self.read_out, NextCell) and self.read_out.horizon > longest:
            raise ValueError(
                f"task.read_out.horizon={self.read_out.horizon}: no path of task.size={self.size} has so many moves; "
                f"choose 1..{longest}"
            )

    @property
    def generator(self) -> GeneratorConfig:
        """Which mazes are generated."""
        return GeneratorConfig(self.size, self.family, self.min_path_length, self.loops)


def _word(value: object) -> str:
    """As it is written on the command line."""
    return "null" if value is None else str(value)
