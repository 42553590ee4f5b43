"""Mazes from elsewhere: Maze-Hard tables, and objects of the package maze-dataset (which is not needed for it).

In a character grid, as Maze-Hard has them, every character is a cell of the lattice: a wall `#` is a blocked cell, one
without open passages, and between any two other neighbours the passage is open. So a grid of 30 x 30 characters is a
maze of 30 x 30 cells here, and its paths have lengths in characters.
Legend: M mazes, N side, C = N * N.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwise.errors import InputError
from headwise.files import read_text
from headwise.tasks.maze.generate import LARGEST
from headwise.tasks.maze.lattice import NOWHERE, Bools, Ints, Mazes, check, search, shifted, shortest_paths

WALL, OPEN, START, GOAL, PATH = "# SGo"
_COLUMNS = ("question", "answer")


def read_maze_hard(path: Path) -> Mazes:
    """The mazes of a CSV file with the columns source, question, answer, rating, of which the middle two are read.

    Each is a square of characters, row after row (30 x 30 in the public files): `#` wall, space open, `S` start, `G`
    goal, in the answer also `o` path. Paths stay as the file has them; `lattice.excess` tells which are too long.

    Raises:
        InputError: no such table, or, with its row (the header is row 1): a string of the wrong length or with another
            character, a maze wider than `LARGEST`, not one start and one goal, an answer to another question, a path
            through a wall or not one path, an unsolvable maze.
    """
    rows = _rows(path)
    side = _side(path, rows)

    def name(maze: int) -> str:
        return f"{path} row {rows[maze][0]}"

    question, answer = _grid([row[1] for row in rows]), _grid([row[2] for row in rows])  # [M, C]
    _check_characters(question, answer, side, name)
    free = (question != WALL).reshape(-1, side, side)
    passages = free[..., None] & shifted(free, False)
    start, goal = ((question == letter).argmax(1) for letter in (START, GOAL))
    mazes = Mazes.solve(passages, start, goal)
    unsolvable = mazes.length < 0
    if unsolvable.any():
        raise InputError(f"{name(int(unsolvable.argmax()))}: unsolvable: no way to the goal")
    way = _marked_paths(passages, np.isin(answer, (START, GOAL, PATH)), start, goal, name)
    mazes = Mazes(passages, start, goal, way)
    check(mazes, name)
    return mazes


def _rows(path: Path) -> list[tuple[int, str, str]]:
    """Row number, question and answer of each maze; empty rows count, but are not mazes."""
    try:
        table = csv.DictReader(io.StringIO(read_text(path), newline=""))
        missing = [column for column in _COLUMNS if column not in (table.fieldnames or ())]
        if missing:
            raise InputError(f"{path} row 1: no column {missing[0]}; expected source, question, answer, rating")
        rows = [(table.line_num, row["question"] or "", row["answer"] or "") for row in table]
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV table: {error}") from error
    if not rows:
        raise InputError(f"{path}: no mazes; expected rows of source, question, answer, rating")
    return rows


def _side(path: Path, rows: list[tuple[int, str, str]]) -> int:
    """N; the first question decides."""
    first, length = rows[0][0], len(rows[0][1])
    side = math.isqrt(length)
    if side**2 != length or side < 2:
        raise InputError(f"{path} row {first}: question has {length} characters; expected a square (30 x 30 is 900)")
    if side > LARGEST:
        raise InputError(
            f"{path} row {first}: a maze of {side} x {side} characters; choose at most {LARGEST} x {LARGEST}"
        )
    for number, *texts in rows:
        for column, text in zip(_COLUMNS, texts, strict=True):
            if len(text) != length:
                raise InputError(
                    f"{path} row {number}: {column} has {len(text)} characters; expected {length} ({side} x {side})"
                )
    return side


def _grid(texts: list[str]) -> NDArray[np.str_]:
    """One character per cell, [M, C]."""
    return np.array(texts).view("U1").reshape(len(texts), -1)


def _check_characters(question: NDArray[np.str_], answer: NDArray[np.str_], side: int, name: Any) -> None:
    for column, grid, allowed in (("question", question, "# SG"), ("answer", answer, "# SGo")):
        wrong = ~np.isin(grid, list(allowed))
        if wrong.any():
            maze, cell = (int(i) for i in np.argwhere(wrong)[0])
            raise InputError(
                f"{name(maze)}: {column} has {str(grid[maze, cell])!r} at {divmod(cell, side)}; "
                f"expected one of {list(allowed)}"
            )
    for letter, what in ((START, "start"), (GOAL, "goal")):
        count = (question == letter).sum(1)
        if (count != 1).any():
            maze = int((count != 1).argmax())
            raise InputError(
                f"{name(maze)}: {count[maze]} cells {letter}; expected one {what}, apart from the other end"
            )
    through = (answer == PATH) & (question == WALL)
    other = (answer != question) & ~((answer == PATH) & (question == OPEN))
    for wrong, what in ((through, "the path goes through a wall"), (other, "the answer is to another question")):
        if wrong.any():
            maze, cell = (int(i) for i in np.argwhere(wrong)[0])
            raise InputError(f"{name(maze)}: {what}, at {divmod(cell, side)}")


def _marked_paths(passages: Bools, marked: Bools, start: Ints, goal: Ints, name: Any) -> Ints:
    """Puts the marked cells [M, C] in order; they must be all of one way from start to goal."""
    side = passages.shape[1]
    marks = marked.reshape(-1, side, side)
    distance, parent = search(passages & marks[..., None] & shifted(marks, False), start)
    path = shortest_paths(distance, parent, goal)
    cells, expected = (path != NOWHERE).sum(1), marked.sum(1)
    if (cells != expected).any():
        maze = int((cells != expected).argmax())
        reason = "has a gap" if not cells[maze] else f"marks {expected[maze] - cells[maze]} cells beside the way"
        raise InputError(f"{name(maze)}: the path {reason}; expected one way from S to G")
    return path


def from_solved_mazes(objects: Iterable[Any]) -> Mazes:
    """The mazes of maze-dataset: objects like its SolvedMaze, told by their attributes.

    Args:
        objects: each with `connection_list` bool [2, N, N] (open downward, open to the right), `start_pos` and
            `end_pos` (row, column), and `solution` [P, 2]; without a solution a shortest path is found. Of one size.

    Raises:
        InputError: an attribute missing or of another shape, another size or one above `LARGEST`, or what `check`
            refuses, with the number.
    """
    parts: list[Mazes] = []
    for number, one in enumerate(objects):
        maze = _solved_maze(one, f"maze {number}")
        if parts and maze.size != parts[0].size:
            raise InputError(f"maze {number}: size {maze.size}, but the first has {parts[0].size}; give one size")
        parts.append(maze)
    if not parts:
        raise InputError("no mazes given")
    mazes = Mazes.join(parts)
    check(mazes)
    return mazes


def _solved_maze(one: Any, name: str) -> Mazes:
    try:
        connected = np.asarray(one.connection_list, dtype=bool)
        ends = [np.asarray(one.start_pos, dtype=np.int64), np.asarray(one.end_pos, dtype=np.int64)]
        given = getattr(one, "solution", None)
        way = None if given is None else np.asarray(given, dtype=np.int64)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{name}: expected connection_list, start_pos and end_pos as maze-dataset has them") from error
    if connected.ndim != 3 or connected.shape[0] != 2 or connected.shape[1] != connected.shape[2]:
        raise InputError(f"{name}: connection_list has shape {connected.shape}; expected (2, N, N)")
    size = connected.shape[1]
    if size > LARGEST:
        raise InputError(f"{name}: a maze of {size} x {size} cells; choose at most {LARGEST} x {LARGEST}")
    cells = [*ends, *([] if way is None else [way.reshape(-1)])]
    if any(e.shape != (2,) for e in ends) or (way is not None and (way.ndim != 2 or way.shape[1] != 2)):
        raise InputError(f"{name}: start_pos, end_pos and the cells of solution have to be (row, column)")
    if any(((cell < 0) | (cell >= size)).any() for cell in cells):
        raise InputError(f"{name}: a cell outside the maze; choose rows and columns 0..{size - 1}")
    down, right = connected
    if down[-1].any() or right[:, -1].any():
        raise InputError(
            f"{name}: connection_list is open to the border, below the last row or right of the last column"
        )
    passages = np.zeros((1, size, size, 4), dtype=bool)
    passages[0, ..., 1], passages[0, ..., 2] = right, down
    passages[0, 1:, :, 0], passages[0, :, 1:, 3] = down[:-1], right[:, :-1]
    start, goal = (np.array([row * size + column]) for row, column in ends)
    if way is None:
        return Mazes.solve(passages, start, goal)
    return Mazes(passages, start, goal, (way @ np.array([size, 1]))[None])
