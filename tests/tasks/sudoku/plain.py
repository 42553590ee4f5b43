"""Sudoku as one would write it down, without bit masks or arrays: what the fast code is compared with."""

import itertools
from collections.abc import Iterator, Sequence

Grid = tuple[int, ...]

SMALL, SMALL_SOLUTION = "1234..12.1..4321", "1234341221434321"
"""4 x 4; singles solve it, as one sees."""
EASY = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
EASY_SOLUTION = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
"""9 x 9, the example of Wikipedia's article on sudoku; singles solve it."""
HARD = "4.....8.5.3..........7......2.....6.....8.4......1.......6.3.7.5..2.....1.4......"
HARD_SOLUTION = "417369825632158947958724316825437169791586432346912758289643571573291684164875293"
"""9 x 9, of Norvig's essay on solving sudokus; singles do not solve it."""


def grid(text: str) -> Grid:
    return tuple(0 if character in ".0" else int(character, 17) for character in text)


def peers(cell: int, box: tuple[int, int]) -> set[int]:
    rows, columns = box
    N = rows * columns
    r, c = divmod(cell, N)
    unit = {(r, k) for k in range(N)} | {(k, c) for k in range(N)}
    top, left = r // rows * rows, c // columns * columns
    unit |= {(top + i, left + j) for i in range(rows) for j in range(columns)}
    return {i * N + j for i, j in unit} - {cell}


def solutions(clues: Sequence[int], box: tuple[int, int]) -> Iterator[Grid]:
    """All of them, by trying every digit in the first blank."""
    N = box[0] * box[1]
    if 0 not in clues:
        yield tuple(clues)
        return
    cell = list(clues).index(0)
    used = {clues[peer] for peer in peers(cell, box)}
    for digit in range(1, N + 1):
        if digit not in used:
            yield from solutions((*clues[:cell], digit, *clues[cell + 1 :]), box)


def candidates(clues: Sequence[int], cell: int, box: tuple[int, int]) -> set[int]:
    return set(range(1, box[0] * box[1] + 1)) - {clues[peer] for peer in peers(cell, box)}


def after_singles(clues: Sequence[int], box: tuple[int, int]) -> list[int]:
    """The grid when neither a naked nor a hidden single is left, one placed at a time."""
    found, N = list(clues), box[0] * box[1]
    while True:
        left = {cell: candidates(found, cell, box) for cell in range(N * N) if found[cell] == 0}
        for cell, own in left.items():
            for digit in own:
                same = [unit for unit in units(box) if cell in unit]
                hidden = any(all(other == cell or digit not in left.get(other, ()) for other in unit) for unit in same)
                if len(own) == 1 or hidden:
                    found[cell] = digit
                    break
            if found[cell]:
                break
        else:
            return found


def units(box: tuple[int, int]) -> list[list[int]]:
    rows, columns = box
    N = rows * columns
    lines = [[r * N + c for c in range(N)] for r in range(N)] + [[r * N + c for r in range(N)] for c in range(N)]
    corners = itertools.product(range(0, N, rows), range(0, N, columns))
    return lines + [[(r + i) * N + c + j for i in range(rows) for j in range(columns)] for r, c in corners]


def images(box: tuple[int, int]) -> list[Grid]:
    """Every order of cells that is a symmetry, of a small board: at each place the old cell that comes there."""
    rows, columns = box
    N = rows * columns
    found = [
        tuple(r * N + c for r in row for c in column) for row in _orders(N, rows) for column in _orders(N, columns)
    ]
    if rows == columns:
        found += [tuple(cells[c * N + r] for r in range(N) for c in range(N)) for cells in found]
    return found


def _orders(N: int, height: int) -> list[list[int]]:
    bands = [range(first, first + height) for first in range(0, N, height)]
    within = itertools.product(*(list(itertools.permutations(band)) for band in bands))
    return [[line for band in order for line in band] for one in within for order in itertools.permutations(one)]


def canonical(clues: Sequence[int], solution: Sequence[int], box: tuple[int, int]) -> tuple[Grid, Grid]:
    """The least of all symmetric images of a puzzle and its solution, digits named in the order of the first row."""
    least = None
    for cells in images(box):
        solved = [solution[cell] for cell in cells]
        names = {digit: name for name, digit in enumerate(solved[: box[0] * box[1]], 1)} | {0: 0}
        image = tuple(names[clues[cell]] for cell in cells), tuple(names[digit] for digit in solved)
        least = image if least is None else min(least, image)
    assert least is not None
    return least
