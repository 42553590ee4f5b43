"""`headwise data mazes`: generates a file of mazes, or checks one from elsewhere and converts it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from headwise.errors import InputError, StorageError
from headwise.files import user_path
from headwise.schema import FilePath, to_plain
from headwise.tasks.maze import render
from headwise.tasks.maze.files import check_output, write
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.imports import read_maze_hard
from headwise.tasks.maze.lattice import Mazes, excess


@dataclass(frozen=True)
class Options(GeneratorConfig):
    """Write mazes into a file: generated, or converted from a table.

    task=maze task.file= reads it.

    Args:
        output: the file to write, .npz.
        number: how many mazes; the default is the published training set.
        seed: of the generated mazes.
        split: of the generated mazes; the splits share no maze.
        picture: a file, .svg or .png, for a picture of the first maze.
        input: a CSV table in the layout of Maze-Hard, converted in place of generating; output and picture apart, the
            other keys have no meaning then and are refused.
    """

    output: FilePath = field(kw_only=True)
    number: int = 1000
    seed: int = 0
    split: Literal["train", "validation", "test"] = "train"
    picture: FilePath | None = None
    input: FilePath | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        of_imports = ("output", "picture", "input")
        for key in fields(self) if self.input is not None else ():
            if key.name not in of_imports and getattr(self, key.name) != key.default:
                raise ValueError(
                    f"{key.name}={getattr(self, key.name)}: of generated mazes; leave it out beside input="
                )


def run(options: Options, _load: object = None) -> dict[str, Any]:
    """Generate or convert, and write.

    Returns:
        {"output", "mazes", "size", "path_length": {"least", "mean", "most"}, "longer_than_shortest": paths that are
        not shortest, which a file from elsewhere may have, "about": what the file says about itself}, plain JSON.

    Raises:
        InputError: an imported file or a place to write that is not right.
    """
    output, picture = user_path(options.output), None if options.picture is None else user_path(options.picture)
    check_output(output)
    if picture is not None:
        render.check_output(picture)
    mazes, about = _mazes(options)
    write(output, mazes, about)
    if picture is not None:
        try:
            render.save(picture, mazes)
        except (InputError, StorageError):
            output.unlink()  # so that the same command can be given again
            raise
    length = mazes.length
    return {
        "output": str(output),
        "mazes": len(mazes),
        "size": mazes.size,
        "path_length": {"least": int(length.min()), "mean": float(length.mean()), "most": int(length.max())},
        "longer_than_shortest": int((excess(mazes) > 0).sum()),
        "about": about,
    }


def _mazes(options: Options) -> tuple[Mazes, dict[str, Any]]:
    if options.input is not None:
        return read_maze_hard(user_path(options.input)), {"from": Path(options.input).name}
    generator = GeneratorConfig(**{key.name: getattr(options, key.name) for key in fields(GeneratorConfig)})
    about = {**to_plain(generator), "loops": generator.opened, "seed": options.seed, "split": options.split}
    return generate(generator, options.number, options.seed, options.split), about
