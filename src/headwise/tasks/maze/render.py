"""Pictures of mazes: walls, start and goal, the shortest path, and what was predicted, with its mistakes marked.

A green disc is the start, a red diamond the goal, a blue line the path. Predicted cells are green on the path and
orange beside it. In a predicted grid the wrong ones have a cross, and cells of the path that are missing an orange
frame; a predicted walk is a broken orange line. Coordinates count cells from the upper left corner, x to the right and
y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch

from headwise.tasks.maze.batch import tensors
from headwise.tasks.maze.files import whole
from headwise.tasks.maze.lattice import NOWHERE, Bools, Ints, Mazes
from headwise.tasks.maze.metrics import is_shortest_path
from headwise.tasks.new_files import check_new, check_place

INK, BLOCKED, PAPER = "#1c2128", "#667080", "#ffffff"
PATH, START, GOAL, RIGHT, WRONG = "#0072b2", "#009e73", "#c0392b", "#bfe5d8", "#d55e00"
WRONG_FILL = "#f8d9c4"
ENDINGS = (".svg", ".png")

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Shape:
    """A polygon that is filled, or, with a width, a line."""

    points: Points
    colour: str
    width: float = 0.0  # in cells
    dashed: bool = False


def svg(
    mazes: Mazes,
    index: int = 0,
    marked: Bools | None = None,
    walked: Ints | None = None,
    cell: int = 20,
    wrong: Bools | None = None,
) -> str:
    """One maze as an SVG document.

    Args:
        mazes, index: which.
        marked: a predicted grid, bool [N, N].
        walked: a predicted walk, cells int64 [T], padded with -1.
        cell: pixels of a cell's side.
        wrong: cells that are wrong otherwise than by their mark, bool [N, N]; each has a cross, on walls, too.
    """
    side = (mazes.size + 1) * cell
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" '
        f'viewBox="-0.5 -0.5 {mazes.size + 1} {mazes.size + 1}">',
        f'<rect x="-0.5" y="-0.5" width="100%" height="100%" fill="{PAPER}"/>',
    ]
    crosses = [] if wrong is None else [line for row, column in np.argwhere(wrong) for line in _cross(row, column)]
    for shape in _shapes(mazes[[index]], marked, walked) + crosses:
        points = " ".join(f"{x:g},{y:g}" for x, y in shape.points)
        if shape.width:
            dash = ' stroke-dasharray="0.25 0.2"' if shape.dashed else ""
            lines.append(
                f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}" '
                f'stroke-linecap="round" stroke-linejoin="round"{dash}/>'
            )
        else:
            lines.append(f'<polygon points="{points}" fill="{shape.colour}"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def save(
    path: Path,
    mazes: Mazes,
    index: int = 0,
    marked: Bools | None = None,
    walked: Ints | None = None,
    cell: int = 20,
) -> None:
    """Writes the picture of one maze, as SVG or PNG by the ending of the name; arguments as for `svg`.

    Raises:
        InputError: another ending, or a file that exists.
        StorageError: it cannot be written.
    """
    check_new("picture", path, ENDINGS)
    with whole(path) as file:
        if path.suffix == ".svg":
            file.write(svg(mazes, index, marked, walked, cell).encode())
        else:
            _save_png(file, mazes[[index]], marked, walked, cell)


def check_output(path: Path) -> None:
    """Whether `save` may write there, before work is done for it.

    Raises:
        InputError: another ending, a file that exists, or a folder that cannot be made or written.
    """
    check_place("picture", path, ENDINGS)


def _save_png(file: IO[bytes], maze: Mazes, marked: Bools | None, walked: Ints | None, cell: int) -> None:
    from matplotlib.figure import Figure  # half a second, for pictures alone
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon

    inch = 72.0  # pixels, so that a point is a pixel
    side = (maze.size + 1) * cell
    figure = Figure(figsize=(side / inch, side / inch), dpi=inch, facecolor=PAPER)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.5, maze.size + 0.5), ylim=(maze.size + 0.5, -0.5))
    axes.set_axis_off()
    for layer, shape in enumerate(_shapes(maze, marked, walked)):
        if shape.width:
            x, y = zip(*shape.points, strict=True)
            width = shape.width * cell
            line = Line2D(x, y, color=shape.colour, linewidth=width, solid_capstyle="round", zorder=layer)
            if shape.dashed:
                line.set_linestyle((0, (0.25 / shape.width, 0.2 / shape.width)))
            axes.add_line(line)
        else:
            axes.add_patch(Polygon(shape.points, facecolor=shape.colour, zorder=layer))
    figure.savefig(file, format="png")


def _shapes(maze: Mazes, marked: Bools | None, walked: Ints | None) -> list[Shape]:
    """What is drawn, from back to front; `maze` is one."""
    size, passages = maze.size, maze.open[0]
    way = [] if walked is None else [int(cell) for cell in walked if cell != NOWHERE]
    predicted = np.zeros((size, size), dtype=bool) if marked is None else np.asarray(marked, dtype=bool)
    if way:
        predicted = predicted | np.isin(np.arange(size * size), way).reshape(size, size)
    shapes = []
    if predicted.any():
        shapes += _verdicts(maze, predicted, crossed=not way)
    blocked = ~passages.any(-1)
    shapes += [Shape(_square(row, column), BLOCKED) for row, column in np.argwhere(blocked)]
    shapes += _walls(passages, blocked)
    shapes.append(Shape(_centres(maze.path[0][maze.path[0] != NOWHERE], size), PATH, 0.16))
    if len(way) > 1:
        shapes.append(Shape(_centres(np.array(way), size), WRONG, 0.1, dashed=True))
    (start,), (goal,) = _centres(maze.start, size), _centres(maze.goal, size)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    disc = [(start[0] + 0.3 * float(np.cos(angle)), start[1] + 0.3 * float(np.sin(angle))) for angle in turn]
    diamond = [(goal[0] + dx, goal[1] + dy) for dx, dy in ((0, -0.36), (0.36, 0), (0, 0.36), (-0.36, 0))]
    return [*shapes, Shape(disc, START), Shape(diamond, GOAL)]


def _verdicts(maze: Mazes, predicted: Bools, crossed: bool) -> list[Shape]:
    """Predicted cells by whether they are right. Another shortest path than that of the maze is right, too."""
    right = bool(is_shortest_path(torch.from_numpy(predicted)[None], tensors(maze)))
    truth = predicted if right else maze.on_path[0]
    shapes = [Shape(_square(row, column), RIGHT) for row, column in np.argwhere(predicted & truth)]
    shapes += [Shape(_square(row, column), WRONG_FILL) for row, column in np.argwhere(predicted & ~truth)]
    if not crossed:
        return shapes
    for row, column in np.argwhere(predicted & ~truth):
        shapes += _cross(row, column)
    for row, column in np.argwhere(truth & ~predicted):
        frame = _square(row, column, 0.14)
        shapes.append(Shape([*frame, frame[0]], WRONG, 0.08))
    return shapes


def _cross(row: int, column: int) -> list[Shape]:
    corners = (((0.3, 0.3), (0.7, 0.7)), ((0.3, 0.7), (0.7, 0.3)))
    return [Shape([(column + x, row + y) for x, y in line], WRONG, 0.1) for line in corners]


def _walls(passages: Bools, blocked: Bools) -> list[Shape]:
    """A line on each side of a cell that is closed, but between blocked cells."""
    size = len(passages)
    shapes = []
    inside = np.pad(~blocked, 1)  # a closed side is drawn if there is a free cell on one of its sides
    for row, column in np.argwhere(~passages[..., 0] & (inside[1:-1, 1:-1] | inside[:-2, 1:-1])):
        shapes.append(Shape([(column, row), (column + 1, row)], INK, 0.1))
    for row, column in np.argwhere(~passages[..., 3] & (inside[1:-1, 1:-1] | inside[1:-1, :-2])):
        shapes.append(Shape([(column, row), (column, row + 1)], INK, 0.1))
    return [*shapes, Shape([(0, size), (size, size), (size, 0)], INK, 0.1)]


def _square(row: int, column: int, inset: float = 0.0) -> Points:
    low, high = inset, 1 - inset
    return [(column + x, row + y) for x, y in ((low, low), (high, low), (high, high), (low, high))]


def _centres(cells: Ints, size: int) -> Points:
    return [(float(cell % size) + 0.5, float(cell // size) + 0.5) for cell in cells]
