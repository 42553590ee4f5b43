"""Scenes drawn with matplotlib, for animations: what `show.js` draws on a page, by the same names of kinds.

Legend: L tokens, A answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

from headwise.lab.plot_style import COLOURS, GRID, INK, MUTED, PAPER
from headwise.tasks.scenes import Scene

GOOD, GOOD_FILL, BAD, BAD_FILL, TRUTH, GOAL = "#00664a", "#8fd6bd", "#a34600", "#f6c19a", "#0072b2", "#c0392b"
SOLID, COLUMN = "#667080", "#7fb2d6"
WORDS_A_LINE = 62
"""Characters of a text in a line."""
Answer = Mapping[str, Any] | None


def draw(axes: Axes, scene: Scene, now: Answer, before: Answer = None, part: float = 1.0) -> None:
    """The scene with an answer, None for the question alone.

    Args:
        axes: empty.
        scene: any.
        now: one of its answers.
        before: the answer in front of it, from which what can move is on its way.
        part: how far it has come, 0 to 1.
    """
    axes.set_axis_off()
    axes.set_aspect("equal")
    _KINDS[scene.kind](axes, scene.question, now or {}, before or {}, part)


def _grid(axes: Axes, asked: Mapping[str, Any], now: Mapping[str, Any], before: Any, part: float) -> None:
    rows, columns = asked["rows"], asked["columns"]
    axes.set_xlim(-0.15, columns + 0.15)
    axes.set_ylim(rows + 0.15, -0.15)
    wrong, right, sudoku = set(now.get("wrong", ())), set(now.get("right", ())), "boxes" in asked
    marks = now.get("mark")
    for cell in range(rows * columns):
        y, x = divmod(cell, columns)
        share = marks[cell] / 100 if marks else 0.0
        if cell in wrong:
            axes.add_patch(Rectangle((x, y), 1, 1, color=BAD_FILL, lw=0))
        elif not sudoku:
            alpha = 0.35 + 0.65 * (share if marks else 1) if cell in right else 0.6 * share
            axes.add_patch(Rectangle((x, y), 1, 1, color=GOOD_FILL, alpha=alpha, lw=0))
        given, said = (asked.get("given") or [""] * (cell + 1))[cell], (now.get("text") or [""] * (cell + 1))[cell]
        if given or said:
            colour = BAD if cell in wrong else INK if given else TRUTH
            weight = "bold" if given else "normal"
            size = 150 / max(rows, 4)
            axes.text(
                x + 0.5, y + 0.53, said or given, color=colour, weight=weight, size=size, ha="center", va="center"
            )
        elif cell in wrong and not now.get("arrows"):
            axes.plot([x + 0.32, x + 0.68], [y + 0.32, y + 0.68], color=BAD, lw=1.6)
            axes.plot([x + 0.32, x + 0.68], [y + 0.68, y + 0.32], color=BAD, lw=1.6)
    for cell in asked.get("solid", ()):
        axes.add_patch(Rectangle((cell % columns, cell // columns), 1, 1, color=SOLID, lw=0.3))
    _lines(axes, asked, rows, columns)
    way: dict[str, Any] = {"color": TRUTH, "ls": (0, (0.1, 2)), "lw": 2.2, "dash_capstyle": "round"}
    walk: dict[str, Any] = {"color": GOOD, "lw": 4, "alpha": 0.7, "solid_capstyle": "round"}
    for cells, style in ((asked.get("path"), way), (now.get("walk"), walk)):
        if cells:
            at = np.array(cells)
            axes.plot(at % columns + 0.5, at // columns + 0.5, **style)
    if "start" in asked:
        y, x = divmod(asked["start"], columns)
        axes.add_patch(Circle((x + 0.5, y + 0.5), 0.28, color=GOOD, zorder=5))
        y, x = divmod(asked["goal"], columns)
        axes.add_patch(
            Rectangle((x + 0.26, y + 0.26), 0.48, 0.48, angle=45, rotation_point="center", color=GOAL, zorder=5)
        )


def _lines(axes: Axes, asked: Mapping[str, Any], rows: int, columns: int) -> None:
    """Walls, or the rules of a sudoku."""
    if "boxes" in asked:
        high, wide = asked["boxes"]
        for line in range(rows + 1):
            axes.plot([0, columns], [line, line], color=INK, lw=2.6 if line % high == 0 else 0.6)
        for line in range(columns + 1):
            axes.plot([line, line], [0, rows], color=INK, lw=2.6 if line % wide == 0 else 0.6)
        return
    solid = set(asked.get("solid", ()))
    sides = ((1, (0, 1), (0, 0)), (2, (1, 1), (0, 1)), (4, (0, 1), (1, 1)), (8, (0, 0), (0, 1)))
    for cell, closed in enumerate(asked.get("walls") or ()):
        y, x = divmod(cell, columns)
        for bit, across, down in sides if cell not in solid else ():
            if closed & bit:
                axes.plot([x + d for d in across], [y + d for d in down], color=INK, lw=2.4, solid_capstyle="round")


def _bars(axes: Axes, asked: Mapping[str, Any], now: Mapping[str, Any], before: Mapping[str, Any], part: float) -> None:
    values, n = np.array(asked["values"], dtype=float), len(asked["values"])
    axes.set_aspect("auto")
    axes.set_xlim(-0.6, n - 0.4)
    axes.set_ylim(-0.34, 1.16)
    to = np.array(now.get("ranks", range(n)), dtype=float)
    place = part * to + (1 - part) * np.array(before.get("ranks", range(n)), dtype=float)
    height = 0.1 + 0.9 * (values - values.min()) / max(np.ptp(values), 1.0)
    for i in range(n):
        good = bool(now) and part == 1 and asked["ranks"][i] == to[i]
        alpha = 0.35 + 0.65 * now["sure"][i] / 100 if now else 0.35
        edge = GOOD if good else TRUTH
        style = "-" if asked["visible"][i] else (0, (3, 2))
        box = (place[i] - 0.4, 0)
        axes.add_patch(Rectangle(box, 0.8, height[i], fc=GOOD_FILL if good else COLUMN, ec="none", alpha=alpha))
        axes.add_patch(Rectangle(box, 0.8, height[i], fill=False, ec=edge, lw=1.3, ls=style))
        label = f"{asked['values'][i]}" if asked["visible"][i] else "?"
        axes.text(place[i], -0.04, label, ha="center", va="top", weight="bold", color=INK, size=10)
        if not asked["visible"][i]:
            axes.text(place[i], height[i] + 0.02, f"{asked['values'][i]}", ha="center", color=MUTED, size=8)
        if good:
            axes.text(place[i], -0.17, "✓", ha="center", va="top", color=GOOD, size=12)
    axes.plot([-0.6, n - 0.4], [0, 0], color=MUTED, lw=1)


def _arcs(axes: Axes, asked: Mapping[str, Any], now: Mapping[str, Any], before: Any, part: float) -> None:
    words = asked["words"]
    widths = [max(3.0, 0.95 * len(word) + 1.6) for word in words]
    centre = np.cumsum(widths) - np.array(widths) / 2
    total, reach = float(sum(widths)), 1.0
    size = min(11.0, 620 / total)
    for i, word in enumerate(words):
        axes.text(centre[i], 0, word, ha="center", va="center", color=INK, size=size)
    known = asked.get("heads")
    for i, head in enumerate(now.get("heads", ())):
        right = not known or known[i] == head
        alpha = 0.35 + 0.65 * now["sure"][i] / 100
        reach = max(reach, _arc(axes, centre, i, head, 1, TRUTH if right else BAD, alpha, now["relations"][i], size))
    below = 1.0
    for i, head in enumerate(known or ()):
        if not now or now["heads"][i] != head:
            below = max(below, _arc(axes, centre, i, head, -1, MUTED, 1.0, asked["relations"][i], size))
    axes.set_xlim(-1, total + 1)
    axes.set_aspect("auto")
    top = max(12.0, total / 3)
    axes.set_ylim(-top * (0.75 if known else 0.15), top)


def _arc(axes: Axes, at: Any, i: int, head: int, up: int, colour: str, alpha: float, label: str, size: float) -> float:
    """One arc; how high it goes."""
    look: dict[str, Any] = {
        "color": colour,
        "alpha": alpha,
        "lw": 1.4,
        "arrowstyle": "-|>",
        "mutation_scale": 8,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    if head == 0:
        axes.add_patch(FancyArrowPatch((at[i], 9.0 * up), (at[i], 1.2 * up), **look))
        return 9.0
    a, b = at[head - 1], at[i]
    high = 0.28 * abs(float(b - a)) + 1.5
    bend = 0.56 if (a < b) == (up > 0) else -0.56
    axes.add_patch(FancyArrowPatch((a, 1.2 * up), (b, 1.2 * up), connectionstyle=f"arc3,rad={-bend}", **look))
    axes.text((a + b) / 2, up * (1.2 + high), label, ha="center", va="center", color=colour, size=max(6.5, 0.68 * size))
    return high


def _graph(axes: Axes, asked: Mapping[str, Any], now: Mapping[str, Any], before: Any, part: float) -> None:
    n, named = asked["nodes"], asked["relations"]
    turn = 2 * np.pi * np.arange(n) / n
    x, y = np.sin(turn), np.cos(turn)
    axes.set_xlim(-1.35, 1.35)
    axes.set_ylim(-1.3, 1.45)
    order, reached = asked["instruction"], asked["reached"]
    walked = {(k, i) for k, nodes in zip(order, reached, strict=False) for i in nodes}
    for k, i, j in reversed(asked["edges"]):
        on = (k, i) in walked
        if i == j or not (on or k in order):
            continue
        colour = COLOURS[1 + k % 6]
        look: dict[str, Any] = {
            "color": colour,
            "alpha": 1.0 if on else 0.22,
            "lw": 2.2 if on else 0.8,
            "arrowstyle": "-|>",
        }
        axes.add_patch(
            FancyArrowPatch(
                (x[i], y[i]),
                (x[j], y[j]),
                connectionstyle="arc3,rad=0.14",
                shrinkA=9,
                shrinkB=11,
                mutation_scale=9,
                **look,
            )
        )
    radius = min(0.095, 2.2 / n)
    chosen = set(now.get("chosen", ()))
    for i in range(n):
        axes.add_patch(Circle((x[i], y[i]), radius, fc=PAPER, ec=MUTED, lw=1, zorder=3))
        if now:
            axes.add_patch(Circle((x[i], y[i]), radius, fc=COLUMN, alpha=now["mass"][i] / 100, lw=0, zorder=4))
        if i in chosen:
            right = i in asked["goal"]
            axes.add_patch(Circle((x[i], y[i]), radius * 1.28, fill=False, ec=GOOD if right else BAD, lw=2.4, zorder=5))
        if radius > 0.05:
            axes.text(x[i], y[i], str(i + 1), ha="center", va="center", size=8, color=INK, zorder=6)
    axes.plot(1.18 * x[asked["start"]], 1.18 * y[asked["start"]], "o", color=GOOD, ms=7)
    axes.plot(1.18 * x[asked["goal"]], 1.18 * y[asked["goal"]], "D", color=GOAL, ms=6)
    story = " → ".join(["start", *(named[k] for k in order)])
    axes.text(-1.3, 1.36, story, weight="bold", size=10, color=INK, va="center")


def _tokens(axes: Axes, asked: Mapping[str, Any], now: Mapping[str, Any], before: Any, part: float) -> None:
    axes.set_aspect("auto")
    wrong, scored = set(now.get("wrong", ())), now.get("scored", 0)
    x = line = 0
    below = now.get("words") or [""] * len(asked["words"])
    for i, (word, said) in enumerate(zip(asked["words"], below, strict=True)):
        wide = max(len(word), len(said)) + 1
        if x and x + wide > WORDS_A_LINE:
            x, line = 0, line + 1
        axes.add_patch(Rectangle((x + 0.1, line + 0.06), wide - 0.2, 0.84, fc=GRID, ec="none"))
        at = x + wide / 2
        axes.text(at, line + 0.3, word, ha="center", va="center", color=INK, size=9, family="DejaVu Sans Mono")
        colour = MUTED if i >= scored else BAD if i in wrong else GOOD
        axes.text(at, line + 0.68, said, ha="center", va="center", color=colour, size=8, family="DejaVu Sans Mono")
        x += wide
    axes.set_xlim(0, WORDS_A_LINE)
    axes.set_ylim(max(line + 1, 6), 0)


_KINDS: dict[str, Callable[[Axes, Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], float], None]] = {
    "grid": _grid,
    "bars": _bars,
    "arcs": _arcs,
    "graph": _graph,
    "tokens": _tokens,
}
MOVING = ("bars",)
"""Kinds in which something is on its way from one answer to the next."""
