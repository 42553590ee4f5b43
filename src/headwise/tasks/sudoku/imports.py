"""Puzzles from elsewhere: tables like Sudoku-Extreme, and plain lines.

A table has the columns source, question, answer, rating, of which the question is needed. A plain line is a puzzle, and
behind it, after white space or a comma, its solution, if it is known; lines that are empty or begin with # are left
out. Blanks are `.` or `0`; digits are 1-9, then A-G. Every puzzle is solved, so that it has one solution is certain.
Legend: C cells.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from headwise.errors import InputError
from headwise.files import open_stream
from headwise.tasks.sudoku.board import ALPHABET, Digits, Puzzles, board, clash

MOST = 10_000_000
"""Guesses after which a puzzle is refused as one that cannot be settled."""
LONGEST_LINE = 10_000
_VALUES = {character: value for value, character in enumerate(ALPHABET, 1)} | {".": 0, "0": 0}
_VALUES |= {character.lower(): value for character, value in _VALUES.items()}


@dataclass(frozen=True)
class Line:
    """A puzzle as it stands in a file.

    Attributes:
        where: file and line, for messages.
        question: its characters.
        answer: those of the solution, or None.
        rating: what the file says of how hard it is, or None.
    """

    where: str
    question: str
    answer: str | None = None
    rating: str | None = None


def read_puzzles(path: Path, box: tuple[int, int], rated: bool = False) -> Iterator[Puzzles]:
    """The puzzles of a `.csv` table, or of plain lines, one after the other; a file may be of any size.

    Args:
        box: rows and columns of a box.
        rated: the rating is needed.

    Raises:
        InputError: no such file; no column question, or none rating where it is needed; or, with its line: a puzzle of
            the wrong length or with another character, clues that clash, no solution or several, an answer that is
            not the solution, a rating that is no number.
    """
    for line in read_lines(path, rated):
        yield puzzle_of(line, box)


def read_lines(path: Path, rated: bool = False) -> Iterator[Line]:
    """The puzzles of a file as they stand there; arguments and errors as for `read_puzzles`."""
    if path.suffix.lower() != ".csv" and rated:
        raise InputError(f"{path}: plain lines have no rating; give a table with a column rating, or leave it out")
    with open_stream(path) as file:
        found = _table(path, file, rated) if path.suffix.lower() == ".csv" else _plain(path, file)
        some = False
        for line in found:
            some = True
            yield line
    if not some:
        raise InputError(f"{path}: no puzzles; expected lines of digits and dots, or a table with a column question")


def _text(path: Path, file: IO[bytes]) -> Iterator[str]:
    number = 0
    while raw := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE:
            raise InputError(f"{path} line {number}: longer than {LONGEST_LINE} bytes; a puzzle has at most 256 cells")
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{path} line {number}: not UTF-8; save it as UTF-8") from None


def _plain(path: Path, file: IO[bytes]) -> Iterator[Line]:
    for number, text in enumerate(_text(path, file), 1):
        words = text.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) > 2:
            raise InputError(f"{path} line {number}: {len(words)} words; expected a puzzle, and perhaps its solution")
        yield Line(f"{path} line {number}", words[0], words[1] if len(words) > 1 else None)


def _table(path: Path, file: IO[bytes], rated: bool) -> Iterator[Line]:
    try:
        table = csv.DictReader(_text(path, file))
        needed = ("question", "rating") if rated else ("question",)
        missing = [name for name in needed if name not in (table.fieldnames or ())]
        if missing:
            raise InputError(f"{path} line 1: no column {missing[0]}; expected source, question, answer, rating")
        for row in table:
            where = f"{path} line {table.line_num}"
            yield Line(where, row["question"] or "", row.get("answer") or None, row.get("rating") or None)
    except csv.Error as error:
        raise InputError(f"{path}: not a CSV table: {error}") from error


def digits_of(text: str, size: int, where: str) -> Digits:
    """The digits of a puzzle as it is written, int8 [C].

    Raises:
        InputError: of the wrong length, or with a character that is none.
    """
    if len(text) != size * size:
        side = math.isqrt(len(text))
        remedy = f"; choose size={side}" if side * side == len(text) and side in (4, 6, 9, 16) else ""
        raise InputError(f"{where}: {len(text)} characters; expected {size * size} ({size} x {size}){remedy}")
    digits = np.array([_VALUES.get(character, size + 1) for character in text])
    if (digits > size).any():
        place = int((digits > size).argmax())
        raise InputError(
            f"{where}: {text[place]!r} in row {place // size + 1}, column {place % size + 1}; expected . or 0 for a "
            f"blank, or one of {ALPHABET[:size]}"
        )
    return digits.astype(np.int8)


def clues_of(line: Line, box: tuple[int, int]) -> Digits:
    """The clues of a puzzle, int8 [C].

    Raises:
        InputError: as `digits_of`, or two clues clash.
    """
    size = box[0] * box[1]
    clues = digits_of(line.question, size, line.where)
    if (both := clash(clues, box)) is not None:
        (r, c), (r2, c2) = (divmod(cell, size) for cell in both)
        digit = ALPHABET[int(clues[both[0]]) - 1]
        raise InputError(
            f"{line.where}: clues clash: {digit} in row {r + 1}, column {c + 1} and in row {r2 + 1}, column {c2 + 1}"
        )
    return clues


def puzzle_of(line: Line, box: tuple[int, int]) -> Puzzles:
    """The puzzle, solved and graded.

    Raises:
        InputError: as `clues_of`; no solution or several; an answer that is not the solution, or a rating that is no
            number.
    """
    from headwise.tasks.sudoku import search  # which may load numba

    clues, geometry = clues_of(line, box), board(box)
    if clues.all():
        raise InputError(f"{line.where}: no blanks; expected a puzzle")
    solution = np.zeros(len(clues), np.int64)
    found, guesses = search.grade(clues.astype(np.int64), geometry.units, geometry.peers, solution, MOST)
    if found != 1:
        what = {0: "no solution", 2: "several solutions"}.get(found, f"not settled within {MOST} guesses")
        raise InputError(f"{line.where}: {what}; expected a puzzle with one")
    if line.answer is not None and (digits_of(line.answer, geometry.size, line.where) != solution).any():
        raise InputError(f"{line.where}: the answer is not the solution")
    found_in = np.array([_rating(line)])
    return Puzzles(box, clues[None], solution[None].astype(np.int8), np.array([guesses]), found_in)


def _rating(line: Line) -> float:
    if line.rating is None:
        return math.nan
    try:
        return float(line.rating)
    except ValueError:
        raise InputError(f"{line.where}: rating {line.rating[:20]!r} is no number") from None
