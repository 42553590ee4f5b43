"""Files of puzzles: the project's own format, and what is written for other programs.

A file `.npz` holds, for M puzzles of C cells, `clues` and `solution` int8 [M, C] (0 a blank), `guesses` int64 [M],
`rating` float64 [M] (NaN: none), `box` int64 [2], `format` and `about`, a text in JSON. `.csv` and `.txt` are as
`imports` reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headwise.errors import InputError
from headwise.files import make_folder, parse_json, read_arrays, write_text, writing
from headwise.tasks.new_files import check_new
from headwise.tasks.sudoku.board import BOXES, Puzzles, box_of, check, lines

FORMAT = 1
ENDINGS = (".npz", ".csv", ".txt")
_SHAPES = {"clues": 2, "solution": 2, "guesses": 1, "rating": 1, "box": 1}


def write(path: Path, puzzles: Puzzles, about: Mapping[str, Any]) -> None:
    """Writes puzzles, as the ending of the name says: `.npz` with what is known about them (plain JSON), `.csv` with
    the columns source, question, answer, rating (guesses, where nothing else is known), `.txt` with a puzzle and its
    solution in each line. A file is whole or not there, and none is replaced.

    Raises:
        InputError: another ending, or a file that exists.
        StorageError: it cannot be written.
    """
    check_new("output", path, ENDINGS)
    make_folder(path.parent)
    if path.suffix == ".npz":
        arrays = {name: getattr(puzzles, name) for name in _SHAPES}
        with writing(path) as file:
            np.savez_compressed(file, **arrays, format=np.array(FORMAT), about=np.array(json.dumps(about)))
        return
    pairs = zip(lines(puzzles.clues), lines(puzzles.solution), strict=True)
    if path.suffix == ".txt":
        write_text(path, "".join(f"{clues} {solution}\n" for clues, solution in pairs))
        return
    rating = np.where(np.isnan(puzzles.rating), puzzles.guesses, puzzles.rating)
    rows = [f"headwise,{clues},{solution},{hard:g}\n" for (clues, solution), hard in zip(pairs, rating, strict=True)]
    write_text(path, "".join(["source,question,answer,rating\n", *rows]))


def read(path: Path) -> tuple[Puzzles, dict[str, Any]]:
    """The puzzles of a file that `write` wrote, and what is known about them. That a puzzle has one solution is taken
    from it.

    Raises:
        InputError: no such file, another format, or a puzzle that does not hold together, with its number.
    """
    arrays = read_arrays(path, (*_SHAPES, "format", "about"))
    about = parse_json(str(arrays["about"]), str(path))
    if arrays["format"].tolist() != FORMAT:
        raise InputError(f"{path}: format {str(arrays['format'])[:20]}; this version reads format {FORMAT}")
    for name, dimensions in _SHAPES.items():
        array, kind = arrays[name], np.floating if name == "rating" else np.integer
        if array.ndim != dimensions or not np.issubdtype(array.dtype, kind):
            raise InputError(f"{path}: {name} is {array.dtype} with {array.ndim} dimensions; expected {dimensions}")
    M, C = arrays["clues"].shape
    if not M or any(len(arrays[name]) != M for name in _SHAPES if name != "box"):
        raise InputError(f"{path}: clues, solution, guesses and rating do not describe the same number of puzzles")
    box = tuple(arrays["box"].tolist())
    sides = [size for size in BOXES if size * size == C and arrays["solution"].shape[1] == C]
    try:
        (size,) = sides
        sides_of_box = box_of(size, box)
    except ValueError:
        raise InputError(f"{path}: {C} cells with a box of {list(box)}: no board") from None
    clues, solution = (arrays[name].astype(np.int8) for name in ("clues", "solution"))
    guesses, rating = arrays["guesses"].astype(np.int64), arrays["rating"].astype(np.float64)
    puzzles = Puzzles(sides_of_box, clues, solution, guesses, rating)
    check(puzzles, lambda i: f"{path} puzzle {i}")
    return puzzles, dict(about) if isinstance(about, dict) else {}
