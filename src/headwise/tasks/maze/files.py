"""Files of mazes: the project's own format, and the public ones that can be read.

A file `.npz` holds, for M mazes of N x N cells, `passages` uint8 [M, N, N] (bits 1, 2, 4, 8: up, right, down, left is
open), `start` and `goal` int32 [M], `path` int16 [M, P] padded with -1, `format` and `about`, a text in JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from headwise.errors import InputError
from headwise.files import make_folder, parse_json, read_arrays, writing
from headwise.tasks.maze.generate import LARGEST
from headwise.tasks.maze.lattice import Mazes, check
from headwise.tasks.new_files import check_new, check_place

FORMAT = 1
_BITS = np.array([1, 2, 4, 8], dtype=np.uint8)
_SHAPES = {"passages": 3, "start": 1, "goal": 1, "path": 2}


def write(path: Path, mazes: Mazes, about: Mapping[str, Any]) -> None:
    """Writes mazes and what is known about them (plain JSON); a file is whole or not there, and none is replaced.

    Raises:
        InputError: a name that does not end in .npz, a file that exists, or mazes wider than `LARGEST`.
        StorageError: it cannot be written.
    """
    check_new("output", path, (".npz",))
    _check_side(path, mazes.size)
    with whole(path) as file:
        np.savez_compressed(
            file,
            passages=(mazes.open * _BITS).sum(-1, dtype=np.uint8),
            start=mazes.start.astype(np.int32),
            goal=mazes.goal.astype(np.int32),
            path=mazes.path.astype(np.int16),
            format=np.array(FORMAT),
            about=np.array(json.dumps(about)),
        )


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, and the folder for it; see `headwise.files.writing`.

    Raises:
        StorageError: it cannot be written.
    """
    make_folder(path.parent)
    with writing(path) as file:
        yield file


def check_output(path: Path) -> None:
    """Whether `write` may write there, before work is done for it.

    Raises:
        InputError: another ending, a file that exists, or a folder that cannot be made or written.
    """
    check_place("output", path, (".npz",))


def read(path: Path) -> tuple[Mazes, dict[str, Any]]:
    """The mazes of a file that `write` wrote, and what is known about them.

    Raises:
        InputError: no such file, another format, or a maze that does not hold together, with its number.
    """
    arrays = read_arrays(path, (*_SHAPES, "format", "about"))
    about = parse_json(str(arrays["about"]), str(path))
    if arrays["format"].tolist() != FORMAT:
        raise InputError(f"{path}: format {str(arrays['format'])[:20]}; this version reads format {FORMAT}")
    _check_shapes(path, arrays)
    start, goal, way = (arrays[name].astype(np.int64) for name in ("start", "goal", "path"))
    mazes = Mazes((arrays["passages"][..., None] & _BITS) > 0, start, goal, way)
    check(mazes, lambda i: f"{path} maze {i}")
    return mazes, dict(about) if isinstance(about, dict) else {}


def _check_shapes(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, dimensions in _SHAPES.items():
        array = arrays[name]
        if array.ndim != dimensions or not np.issubdtype(array.dtype, np.integer):
            raise InputError(f"{path}: {name} is {array.dtype} with {array.ndim} dimensions; expected {dimensions}")
    M, rows, columns = arrays["passages"].shape
    if not M or not rows or rows != columns or not arrays["path"].shape[1]:
        raise InputError(f"{path}: passages have shape {(M, rows, columns)}; expected mazes, as wide as high")
    _check_side(path, rows)
    if arrays["passages"].dtype != np.uint8 or any(len(arrays[name]) != M for name in _SHAPES):
        raise InputError(f"{path}: passages, start, goal and path do not describe the same number of mazes")


def _check_side(path: Path, side: int) -> None:
    if side > LARGEST:  # cells of paths have 16 bits, and no task has larger ones
        raise InputError(f"{path}: mazes of {side} x {side} cells; choose at most {LARGEST} x {LARGEST}")
