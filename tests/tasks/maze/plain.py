"""Slow twins that the tests compare with: one maze at a time, in plain Python."""

from collections import deque

STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))


def distances(passages, source):
    """Breadth-first search with a queue; a list of N * N numbers, -1 where there is no way."""
    size = len(passages)
    found, queue = [-1] * size**2, deque([source])
    found[source] = 0
    while queue:
        cell = queue.popleft()
        row, column = divmod(cell, size)
        for (down, right), is_open in zip(STEPS, passages[row][column], strict=True):
            other = (row + down) * size + column + right
            if is_open and found[other] < 0:
                found[other] = found[cell] + 1
                queue.append(other)
    return found


def walk(passages, start, goal, scores, max_steps):
    """The walk of the protocol; the cells entered, start first."""
    size, here, cells = len(passages), start, [start]
    while here != goal and len(cells) <= max_steps:
        row, column = divmod(here, size)
        options = [
            ((row + down) * size + column + right, float(scores[row][column][direction]))
            for direction, (down, right) in enumerate(STEPS)
            if passages[row][column][direction]
        ]
        fresh = [option for option in options if option[0] not in cells]
        here = max(fresh or options, key=lambda option: option[1])[0]
        cells.append(here)
    return cells
