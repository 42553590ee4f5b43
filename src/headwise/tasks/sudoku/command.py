"""`headwise data sudoku`: generates a file of puzzles, or checks one from elsewhere and converts it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headwise.errors import InputError, StorageError
from headwise.files import user_path
from headwise.schema import FilePath, to_plain
from headwise.tasks.new_files import check_place
from headwise.tasks.sudoku import render
from headwise.tasks.sudoku.board import Puzzles, joined
from headwise.tasks.sudoku.files import ENDINGS, write
from headwise.tasks.sudoku.generate import GeneratorConfig, generate
from headwise.tasks.sudoku.imports import read_puzzles


@dataclass(frozen=True)
class Options(GeneratorConfig):
    """Write sudokus into a file: generated, or converted from a table or plain lines.

    task=sudoku task.file= reads it.

    Args:
        output: the file to write: .npz; .csv like Sudoku-Extreme; or .txt, a puzzle and its solution in each line.
        number: how many puzzles; the default is the published training set. Of input: at most so many, null for all.
        seed: of the generated puzzles.
        split: of the generated puzzles; the splits share none that are symmetric.
        picture: a file, .svg, for a picture of the first puzzle.
        input: a .csv table with a column question, or plain lines, converted in place of generating: every puzzle is
            solved, checked and graded. size and box say of which board; clues, grade, seed and split have no meaning
            then and are refused.
    """

    output: FilePath = field(kw_only=True)
    number: int | None = 1000
    seed: int = 0
    split: Literal["train", "validation", "test"] = "train"
    picture: FilePath | None = None
    input: FilePath | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.number is None and self.input is None:
            raise ValueError("number=null: all puzzles of input=, and there is none; choose 1 or more")
        if self.number is not None and self.number < 1:
            raise ValueError(f"number={self.number}: choose 1 or more")
        of_generated = ("clues", "grade", "seed", "split")
        for key in fields(self) if self.input is not None else ():
            if key.name in of_generated and getattr(self, key.name) != key.default:
                raise ValueError(
                    f"{key.name}={getattr(self, key.name)}: of generated puzzles; leave it out beside input="
                )


def run(options: Options, _load: object = None) -> dict[str, Any]:
    """Generate or convert, and write.

    Returns:
        {"output", "puzzles", "size", "clues" and "guesses": {"least", "mean", "most"}, "singles": the share that
        singles solve, "seconds" of processor time for all of them, without what is paid once, "puzzles_a_second",
        "compiled": whether numba was there, "about": what the file says about itself}, plain JSON.

    Raises:
        InputError: an imported file or a place to write that is not right.
    """
    output, picture = user_path(options.output), None if options.picture is None else user_path(options.picture)
    check_place("output", output, ENDINGS)
    if picture is not None:
        check_place("picture", picture, render.ENDINGS)
    from headwise.tasks.sudoku import search  # which may load numba

    if not search.COMPILED:
        print("headwise: without numba (pip install 'headwise[sudoku]') this takes long", file=sys.stderr)
    generate(GeneratorConfig(size=4), 1, seed=0)  # compiles, or loads what was compiled
    began = time.process_time()
    puzzles, about = _puzzles(options)
    seconds = time.process_time() - began
    write(output, puzzles, about)
    if picture is not None:
        try:
            render.save(picture, puzzles)
        except (InputError, StorageError):
            output.unlink()  # so that the same command can be given again
            raise
    return {
        "output": str(output),
        "puzzles": len(puzzles),
        "size": puzzles.size,
        "clues": _range(puzzles.n_clues),
        "guesses": _range(puzzles.guesses),
        "singles": float((puzzles.guesses == 0).mean()),
        "seconds": seconds,
        "puzzles_a_second": len(puzzles) / max(seconds, 1e-9),
        "compiled": search.COMPILED,
        "about": about,
    }


def _puzzles(options: Options) -> tuple[Puzzles, dict[str, Any]]:
    if options.input is not None:
        found: Iterator[Puzzles] = read_puzzles(user_path(options.input), options.sides)
        return joined(list(islice(found, options.number))), {"from": Path(options.input).name}
    assert options.number is not None
    generator = GeneratorConfig(**{key.name: getattr(options, key.name) for key in fields(GeneratorConfig)})
    about = {**to_plain(generator), "box": list(generator.sides), "seed": options.seed, "split": options.split}
    return generate(generator, options.number, options.seed, options.split), about


def _range(values: np.ndarray) -> dict[str, float]:
    return {"least": int(values.min()), "mean": float(values.mean()), "most": int(values.max())}
