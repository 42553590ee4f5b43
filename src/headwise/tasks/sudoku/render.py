"""Pictures of sudokus: clues bold, boxes ruled, an answer with its mistakes marked.

What is filled in is blue where it is right and orange on an orange ground where it is not, with the right digit small
in the corner; a clue that was changed is marked alike. Coordinates count cells from the upper left corner, x to the
right and y down.
"""

from __future__ import annotations

from pathlib import Path

from headwise.files import make_folder, write_text
from headwise.tasks.new_files import check_new
from headwise.tasks.sudoku.board import ALPHABET, Digits, Puzzles

INK, PAPER, RIGHT, WRONG, WRONG_FILL = "#1c2128", "#ffffff", "#0072b2", "#d55e00", "#f8d9c4"
ENDINGS = (".svg",)


def svg(puzzles: Puzzles, index: int = 0, answer: Digits | None = None, cell: int = 28) -> str:
    """One puzzle as an SVG document.

    Args:
        puzzles, index: which.
        answer: digits [C], 1..N or 0 for none; without one the clues alone are drawn.
        cell: pixels of a cell's side.
    """
    N, (height, width) = puzzles.size, puzzles.box
    clues, solution = puzzles.clues[index].tolist(), puzzles.solution[index].tolist()
    given = clues if answer is None else [int(digit) for digit in answer]
    side = (N + 1) * cell
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="-0.5 -0.5 {N + 1} {N + 1}" '
        'font-family="sans-serif" text-anchor="middle">',
        f'<rect x="-0.5" y="-0.5" width="100%" height="100%" fill="{PAPER}"/>',
    ]
    for place, digit in enumerate(given):
        row, column = divmod(place, N)
        wrong = digit not in (0, solution[place])
        if wrong:
            drawn.append(f'<rect x="{column}" y="{row}" width="1" height="1" fill="{WRONG_FILL}"/>')
            drawn.append(_text(column + 0.84, row + 0.3, solution[place], INK, 0.28))
        if digit:
            bold = clues[place] > 0
            colour = WRONG if wrong else INK if bold else RIGHT
            drawn.append(_text(column + 0.5, row + 0.72, digit, colour, 0.62, bold))
    for line in range(N + 1):
        for step, ends in ((height, f"M0 {line}H{N}"), (width, f"M{line} 0V{N}")):
            thick = 0.08 if line % step == 0 else 0.025
            drawn.append(f'<path d="{ends}" stroke="{INK}" stroke-width="{thick:g}" stroke-linecap="square"/>')
    return "\n".join([*drawn, "</svg>"]) + "\n"


def save(path: Path, puzzles: Puzzles, index: int = 0, answer: Digits | None = None) -> None:
    """Writes the picture of one puzzle; arguments as for `svg`.

    Raises:
        InputError: another ending than .svg, or a file that exists.
        StorageError: it cannot be written.
    """
    check_new("picture", path, ENDINGS)
    make_folder(path.parent)
    write_text(path, svg(puzzles, index, answer))


def _text(x: float, y: float, digit: int, colour: str, size: float, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{colour}"{weight}>{ALPHABET[digit - 1]}</text>'
