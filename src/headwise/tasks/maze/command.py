"""`headwise data mazes key=value ...`: generates a file of mazes, or checks one from elsewhere and converts it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from headwise.errors import InputError, StorageError
from headwise.files import user_path
from headwise.schema import build, to_plain
from headwise.tasks.maze import render
from headwise.tasks.maze.files import check_output, write
from headwise.tasks.maze.generate import GeneratorConfig, generate
from headwise.tasks.maze.imports import read_maze_hard
from headwise.tasks.maze.lattice import Mazes, excess

USAGE = "headwise data mazes output=FILE.npz [key=value ...]"


@dataclass(frozen=True)
class GenerateConfig(GeneratorConfig):
    """Mazes to generate: the keys of `GeneratorConfig`, and

    Args:
        output: the file to write, .npz.
        number: how many mazes; default 1000, the published training set.
        seed: default 0.
        split: `train` (default), `validation` or `test`; the splits share no maze.
        picture: a file, .svg or .png, for a picture of the first maze.
    """

    output: str = field(kw_only=True)
    number: int = 1000
    seed: int = 0
    split: str = "train"
    picture: str | None = None


@dataclass(frozen=True)
class ImportConfig:
    """Mazes to convert.

    Args:
        input: a CSV table in the layout of Maze-Hard.
        output, picture: as for `GenerateConfig`.
    """

    input: str
    output: str
    picture: str | None = None


def command(words: Sequence[str]) -> dict[str, Any]:
    """Carries out the words of the command line.

    Args:
        words: settings of `GenerateConfig`, or, with `input`, of `ImportConfig`.

    Returns:
        {"output", "mazes", "size", "path_length": {"least", "mean", "most"}, "longer_than_shortest": paths that are
        not shortest, which a file from elsewhere may have, "about": what the file says about itself}, plain JSON.

    Raises:
        InputError: a setting, an imported file or a place to write that is not right.
    """
    settings = dict(map(_setting, words))
    config: ImportConfig | GenerateConfig
    config = build(ImportConfig, settings, "mazes") if "input" in settings else build(GenerateConfig, settings, "mazes")
    output, picture = user_path(config.output), None if config.picture is None else user_path(config.picture)
    check_output(output)
    if picture is not None:
        render.check_output(picture)
    mazes, about = _mazes(config)
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


def _mazes(config: ImportConfig | GenerateConfig) -> tuple[Mazes, dict[str, Any]]:
    if isinstance(config, ImportConfig):
        return read_maze_hard(user_path(config.input)), {"from": Path(config.input).name}
    generator = GeneratorConfig(**{key.name: getattr(config, key.name) for key in fields(GeneratorConfig)})
    about = {**to_plain(generator), "loops": generator.opened, "seed": config.seed, "split": config.split}
    return generate(generator, config.number, config.seed, config.split), about


def _setting(word: str) -> tuple[str, Any]:
    key, equals, text = word.partition("=")
    if not equals:
        raise InputError(f"data mazes {word}: not a setting; write {USAGE}")
    if key in ("output", "input", "picture"):
        return key, text
    try:
        return key, json.loads(text)
    except json.JSONDecodeError:
        return key, text
