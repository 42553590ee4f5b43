"""One sentence as a drawing: the gold tree above the words, the predicted one below, and the gates of each step.

The result is one `<svg>` without scripts, ids or anything to load, in the colours of the report's plots. What is wrong
is told apart twice, for colour-blind readers and for print in grey: an arc to a wrong head is orange and dashed, a
wrong relation orange and underlined.

Legend: L words, H heads of attention.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from headwise.tasks.parsing.metrics import universal

Tree = tuple[Sequence[int], Sequence[str]]
"""Heads, 0 the root, and relations."""

INK, MUTED, GRID, PAPER = "#1c2128", "#5d6776", "#e4e7eb", "#fffffe"
GOLD, RIGHT, WRONG = "#5b6675", "#0072b2", "#b84f00"
GATES = ((0x1F, 0x5F, 0x99), (0x8F, 0xB8, 0xDA), (0xF2, 0xF0, 0xEA), (0xF0, 0xA8, 0x60), (0xB3, 0x50, 0x0A))
"""From 0 over 1, plain attention, in the middle to the largest gate."""

# Pixels.
WORD, LABEL, CAPTION = 13.0, 10.0, 10.5  # sizes of text
LEVEL, PORT, RADIUS = 19.0, 6.0, 7.0  # between levels of arcs; between arcs at one word; of an arc's corners
GUTTER, EDGE, SPACE = 78.0, 18.0, 16.0  # left of the first word; around everything; between words
LONGEST_FORM = 28  # characters; a longer form, an address say, is cut and shown whole under the pointer


class Arc(NamedTuple):
    """An arc between words 0..L-1; head -1 is the root.

    Attributes:
        level: its height, 1 next to the words.
    """

    head: int
    dependent: int
    label: str
    right_head: bool
    right_label: bool
    level: int = 0

    @property
    def ends(self) -> tuple[int, int]:
        """Leftmost and rightmost word; the root's arc ends at its one word twice."""
        head = self.dependent if self.head < 0 else self.head
        return min(head, self.dependent), max(head, self.dependent)


def svg(
    forms: Sequence[str], gold: Tree, predicted: Tree, gates: Sequence[Sequence[Sequence[float]]] | None = None
) -> str:
    """The drawing, as wide as the sentence needs; put it into something that scrolls.

    Args:
        forms: L words.
        gold, predicted: heads [L] and relations [L]. Relations are compared up to the colon, as in the scores.
        gates: of each refinement step, by word and head of attention, [L][H]; or [1][H], the same gates for all words.
            1 is plain attention. Drawn as one map for each step, below the words.

    Raises:
        ValueError: lengths that do not fit.
    """
    L = len(forms)
    if not L:
        raise ValueError("forms: no words")
    for name, (heads, relations) in (("gold", gold), ("predicted", predicted)):
        if not len(heads) == len(relations) == L or not all(0 <= head <= L for head in heads):
            raise ValueError(f"{name}: expected {L} heads from 0 to {L}, and {L} relations")
    for step in gates or ():
        if len(step) not in (1, L) or len({len(row) for row in step}) != 1:
            raise ValueError(f"gates: expected 1 or {L} rows of the same length for each step")
    shown = [form if len(form) <= LONGEST_FORM else form[: LONGEST_FORM - 1] + "…" for form in forms]
    above, below = _arcs(gold, gold), _arcs(predicted, gold)
    x = _places(shown, above, below)
    legend, width = _legend(gold, predicted)
    width = max(width, x[-1] + _width(shown[-1], WORD) / 2 + SPACE) + EDGE

    top = EDGE + 34  # below the legend
    line = top + LEVEL * max((arc.level for arc in above), default=0) + 18  # baseline of the words
    bottom = line + 12 + LEVEL * max((arc.level for arc in below), default=0) + 12
    parts = [legend]
    parts += [_text(EDGE, line - 24, "gold", CAPTION, MUTED), _text(EDGE, line + 26, "predicted", CAPTION, MUTED)]
    parts += [_side(above, x, line - WORD - 2, -1, GOLD), _side(below, x, line + 8, 1, RIGHT)]
    for form, word, place in zip(forms, shown, x, strict=True):
        parts.append(_text(place, line, word, WORD, INK, "middle", title=form if word != form else ""))
    if gates:
        drawn, bottom = _maps(gates, shown, x, bottom + 14)
        parts.append(drawn)
    height = bottom + EDGE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" style="font-family:\'DejaVu Sans\',Verdana,Arial,sans-serif">'
        f"<title>{_escape('Dependency tree, gold above and predicted below: ' + ' '.join(forms))}</title>"
        f'<rect width="100%" height="100%" fill="{PAPER}"/>{"".join(parts)}</svg>'
    )


def _arcs(tree: Tree, gold: Tree) -> list[Arc]:
    """The arcs of a tree, compared with the gold tree, at levels where none meets another."""
    rows = enumerate(zip(*tree, *gold, strict=True))
    arcs = [Arc(h - 1, i, r, h == g, universal(r) == universal(s)) for i, (h, r, g, s) in rows]
    placed: list[Arc] = []
    # Short arcs lie below long ones; the root's come last, above all that they could meet.
    for arc in sorted(arcs, key=lambda arc: (arc.head < 0, arc.ends[1] - arc.ends[0], arc.ends)):
        first, last = arc.ends
        met = [other.level for other in placed if _meet(first, last, *other.ends, touching=arc.head < 0)]
        placed.append(arc._replace(level=1 + max(met, default=0)))
    return placed


def _meet(first: int, last: int, low: int, high: int, touching: bool) -> bool:
    return (low <= last and first <= high) if touching else (low < last and first < high)


def _places(shown: Sequence[str], above: Sequence[Arc], below: Sequence[Arc]) -> list[float]:
    """The middle of each word: words do not meet, and each arc is as long as its label."""
    crowd = [max(sum(i in arc.ends for arc in side) for side in (above, below)) for i in range(len(shown))]
    half = [max(_width(word, WORD), PORT * ports) / 2 for word, ports in zip(shown, crowd, strict=True)]
    needed: list[list[tuple[int, float]]] = [[] for _ in shown]  # per word: (earlier word, distance)
    for arc in (*above, *below):
        first, last = arc.ends
        slack = PORT * (crowd[first] + crowd[last]) / 2  # ports may bring the arc's ends closer together
        if first < last:
            needed[last].append((first, _width(arc.label, LABEL) + 2 * RADIUS + slack))
    for side in (above, below):  # heads that are no tree may have several roots
        for left, right in pairwise(sorted((arc for arc in side if arc.head < 0), key=lambda arc: arc.dependent)):
            both = _width(left.label, LABEL) + _width(right.label, LABEL)
            slack = PORT * (crowd[left.dependent] + crowd[right.dependent]) / 2
            needed[right.dependent].append((left.dependent, both / 2 + PORT + slack))
    x: list[float] = []
    for i, own in enumerate(half):
        near = x[-1] + half[i - 1] + SPACE + own if x else GUTTER + EDGE + own
        x.append(max([near, *(x[first] + distance for first, distance in needed[i])]))
    return x


def _side(arcs: Sequence[Arc], x: Sequence[float], base: float, up: int, colour: str) -> str:
    """The arcs of one tree from the line `base` up (-1) or down (1); all labels above all lines."""
    ports = _ports(arcs, x)
    lines, labels = [], []
    for arc in arcs:
        own = colour if arc.right_head else WRONG
        y, foot = base + up * LEVEL * arc.level, ports[arc.dependent, arc]
        dash = "" if arc.right_head else ' stroke-dasharray="5 3"'
        if arc.head < 0:
            middle, path = foot, f"M{foot:.1f} {y:.1f}V{base:.1f}"
        else:
            start = ports[arc.head, arc]
            turn = RADIUS if foot > start else -RADIUS
            middle = (start + foot) / 2
            path = (
                f"M{start:.1f} {base:.1f}V{y - up * RADIUS:.1f}Q{start:.1f} {y:.1f} {start + turn:.1f} {y:.1f}"
                f"H{foot - turn:.1f}Q{foot:.1f} {y:.1f} {foot:.1f} {y - up * RADIUS:.1f}V{base:.1f}"
            )
        tip = (
            f"{foot:.1f},{base - up * 1:.1f} {foot - 3.2:.1f},{base + up * 6:.1f} {foot + 3.2:.1f},{base + up * 6:.1f}"
        )
        lines.append(f'<path d="{path}" fill="none" stroke="{own}" stroke-width="1.3"{dash}/>')
        lines.append(f'<polygon points="{tip}" fill="{own}"/>')
        sound = arc.right_head and arc.right_label
        wrong = "" if arc.right_label else ' text-decoration="underline"'
        # A piece of paper keeps the line from crossing the letters.
        wide = _width(arc.label, LABEL)
        place = f'x="{middle - wide / 2:.1f}" y="{y - LABEL / 2:.1f}" width="{wide:.1f}" height="{LABEL + 1:.1f}"'
        labels.append(f'<rect {place} fill="{PAPER}"/>')
        labels.append(_text(middle, y + 0.35 * LABEL, arc.label, LABEL, INK if sound else WRONG, "middle", wrong))
    return "<g>" + "".join(lines) + "</g><g>" + "".join(labels) + "</g>"


def _ports(arcs: Sequence[Arc], x: Sequence[float]) -> dict[tuple[int, Arc], float]:
    """Where an arc meets a word: to the left the short ones outside, the root's, to the right the long ones inside."""
    found = {}
    for i, middle in enumerate(x):
        left = [arc for arc in arcs if arc.ends[0] < i == arc.ends[1]]
        right = [arc for arc in arcs if arc.ends[0] == i < arc.ends[1]]
        order = [*sorted(left, key=lambda arc: arc.level), *(arc for arc in arcs if arc.ends == (i, i))]
        order += sorted(right, key=lambda arc: -arc.level)
        for place, arc in enumerate(order):
            found[i, arc] = middle + PORT * (place - (len(order) - 1) / 2)
    return found


def _maps(
    gates: Sequence[Sequence[Sequence[float]]], shown: Sequence[str], x: Sequence[float], top: float
) -> tuple[str, float]:
    """A map of the gates for each step, columns below their words, and the scale; and where they end."""
    H = len(gates[0][0])
    row = 12.0 if H <= 16 else 7.0
    largest = max((v for step in gates for word in step for v in word if math.isfinite(v)), default=1.0)
    largest = max(2.0, math.ceil(2 * largest) / 2)
    between = [(a + b) / 2 for a, b in pairwise(x)]
    outside = max(_width(shown[0], WORD), _width(shown[-1], WORD), 24.0) / 2 + SPACE / 4
    edges = [x[0] - outside, *between, x[-1] + outside]
    parts = [_scale(largest, top)]
    y = top + 46
    for number, step in enumerate(gates, start=1):
        parts.append(_text(edges[0], y, f"refinement step {number}", CAPTION, INK, extra=' font-weight="bold"'))
        y += 8
        for head in range(H):
            if row * (head % 2 == 0 or row > LABEL):  # small rows leave room for every second number
                parts.append(_text(edges[0] - 6, y + row / 2 + 3, str(head + 1), 8.5, MUTED, "end"))
            parts.append(f'<g fill="none" stroke-width="{row - 1:.1f}">')
            for i, (left, right) in enumerate(pairwise(edges)):  # a thick line is shorter to write than a rectangle
                stroke = _gate_colour(step[i if len(step) > 1 else 0][head], largest)
                parts.append(f'<path d="M{left:.1f} {y + row / 2:.1f}h{right - left - 1:.1f}" stroke="{stroke}"/>')
            parts.append("</g>")
            y += row
        parts.append(_text(EDGE, y - row * H / 2 + 3, "head", CAPTION, MUTED))
        parts += [_text(place, y + 11, word, 9.0, MUTED, "middle") for word, place in zip(shown, x, strict=True)]
        y += 34
    return "<g>" + "".join(parts) + "</g>", y - 22


def _scale(largest: float, top: float) -> str:
    """The colours of gates from 0 to the largest."""
    left, cell, count = GUTTER + EDGE, 5.0, 32
    parts = [_text(EDGE, top + 9, "gate", CAPTION, MUTED)]
    for i in range(count):
        share = (i + 0.5) / count
        value = 2 * share if share < 0.5 else 1 + (2 * share - 1) * (largest - 1)
        place = f'x="{left + i * cell:.1f}" y="{top:.1f}" width="{cell + 0.3:.1f}" height="11"'
        parts.append(f'<rect {place} fill="{_gate_colour(value, largest)}"/>')
    for share, value in ((0.0, 0.0), (0.5, 1.0), (1.0, largest)):
        parts.append(_text(left + share * cell * count, top + 22, f"{value:g}", 8.5, MUTED, "middle"))
    parts.append(_text(left + cell * count + 12, top + 9, "1 is plain attention", 8.5, MUTED))
    return "".join(parts)


def _gate_colour(value: float, largest: float) -> str:
    """Blue below 1, pale at 1, orange above; grey where there is no gate."""
    if not math.isfinite(value):
        return GRID
    share = value / 2 if value <= 1 else 0.5 + 0.5 * (value - 1) / (largest - 1)
    place = min(max(share, 0.0), 1.0) * (len(GATES) - 1)
    lower = min(int(place), len(GATES) - 2)
    mixed = [a + (b - a) * (place - lower) for a, b in zip(GATES[lower], GATES[lower + 1], strict=True)]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def _legend(gold: Tree, predicted: Tree) -> tuple[str, float]:
    """What lines and labels mean, and how many words are right; and where it ends."""
    y, at = EDGE + 6, EDGE
    parts = []
    for name, colour, dash in (("gold", GOLD, ""), ("predicted", RIGHT, ""), ("wrong head", WRONG, "5 3")):
        stroke = f'stroke="{colour}" stroke-width="1.6"' + (f' stroke-dasharray="{dash}"' if dash else "")
        parts.append(f'<path d="M{at:.1f} {y - 3.5:.1f}h24" fill="none" {stroke}/>')
        parts.append(_text(at + 30, y, name, CAPTION, INK))
        at += 30 + _width(name, CAPTION) + 18
    parts.append(_text(at, y, "wrong relation", CAPTION, WRONG, extra=' text-decoration="underline"'))
    at += _width("wrong relation", CAPTION) + 22
    heads = [a == b for a, b in zip(gold[0], predicted[0], strict=True)]
    both = [right and universal(a) == universal(b) for right, a, b in zip(heads, gold[1], predicted[1], strict=True)]
    text = f"heads right: {sum(heads)} of {len(heads)}, with relation: {sum(both)}"
    return "".join(parts) + _text(at, y, text, CAPTION, MUTED), at + _width(text, CAPTION)


def _text(
    x: float, y: float, text: str, size: float, colour: str, anchor: str = "start", extra: str = "", title: str = ""
) -> str:
    more = f"<title>{_escape(title)}</title>" if title else ""
    attributes = f'x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}"'
    attributes += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f"<text {attributes}{extra}>{more}{_escape(text)}</text>"


def _escape(text: str) -> str:
    """As XML; characters that XML cannot hold are replaced."""
    return escape(re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))


def _width(text: str, size: float) -> float:
    """Pixels that a text needs, estimated from above: a browser may not have the first font."""
    return size * sum(map(_em, text))


def _em(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in "ijl.,;:'|!()[] \"`":
        return 0.4
    if character in "mwMW@%…—&":
        return 1.0
    return 0.72 if character.isupper() else 0.64
