"""How plots look: colours, markers, matplotlib's settings, and the step from a figure to an `<svg>` of the page.

An arm keeps its colour and marker through all plots of a report. The colours follow Okabe and Ito's, which colour-blind
readers can tell apart, darkened until each has a contrast of 4.5 on white; the markers say the same again for print in
grey.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER = "#1c2128", "#5d6776", "#e4e7eb", "#fffffe"
COLOURS = ("#5b6675", "#0072b2", "#b84f00", "#007a58", "#a8467f", "#7a52c7", "#8a6300", "#a3262e")
MARKERS = ("s", "o", "D", "^", "v", "P", "X", "<")
# Below 1 (less than plain attention) blue, 1 pale, above 1 orange: distinct to colour-blind readers and in grey.
GATE_COLOURS = LinearSegmentedColormap.from_list("gates", ["#1f5f99", "#8fb8da", "#f2f0ea", "#f0a860", "#b3500a"])
# Colours that an SVG inside a page takes from the page, so that it follows light and dark.
PAGE_COLOURS = {INK: "--ink", MUTED: "--muted", GRID: "--line", PAPER: "--paper"} | {
    colour: f"--arm-{index}" for index, colour in enumerate(COLOURS)
}
SMALL = 8.5  # points; the least that is printed
STYLE: Any = {
    "font.size": 9.0,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "text.parse_math": False,  # an arm may have a dollar sign in its name
    "svg.fonttype": "none",
    "svg.hashsalt": "headwise",
}
WIDTH = 9.0  # inches; 648 points, so that a page 860 pixels wide shows 9 points as 12 pixels


def svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element to put into a page: the page's fonts and colours, ids that begin with `name`."""
    buffer = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", text)
    for colour, variable in PAGE_COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    return text.strip()


def colour(index: int) -> str:
    """The colour of the arm in this place."""
    return COLOURS[index % len(COLOURS)]


def readable_on(background: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has the larger contrast on a colour (RGBA in 0 to 1): always 4.5 or more."""
    return "#000000" if luminance(background[:3]) > 0.179 else "#ffffff"  # where both have a contrast of 4.58


def luminance(rgb: Sequence[float]) -> float:
    """Relative luminance of an sRGB colour in 0 to 1 (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def marks(points: int, index: int, arms: int) -> dict[str, Any]:
    """About eight markers on a line, each arm's at places of its own; every point if there are few."""
    every = max(1, points // 8)
    return {"marker": marker(index), "markersize": 4.5, "markevery": (index % arms * every // arms, every)}


def marker(index: int) -> str:
    """The marker of the arm in this place."""
    return MARKERS[index % len(MARKERS)]
