"""The steps of one run, or two side by side, as a GIF or a video.

Legend: A answers, N layers, H heads.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.animation import FFMpegWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from PIL import Image

from headwise.errors import InputError
from headwise.files import make_folder, writing
from headwise.lab.plot_style import GATE_COLOURS, INK, MUTED, PAPER, STYLE
from headwise.lab.show.frames import MOVING, draw
from headwise.lab.show.packing import frames
from headwise.lab.show.watch import Watched

ENDINGS = (".gif", ".mp4")
STEP, LAST, BETWEEN = 900, 2200, 50
"""Milliseconds that an answer is seen, the last one, and each picture between two."""
TWEENS = 6
WIDE = ("arcs", "tokens")
"""Kinds that are wider than high."""
INCHES, DOTS = 5.4, 100
"""The side of a run, and dots to the inch: 540 pixels."""


def check_writer(path: Path) -> None:
    """Whether such a file can be written here.

    Raises:
        InputError: another ending, or a video without ffmpeg.
    """
    if path.suffix not in ENDINGS:
        raise InputError(f"animation={path}: choose a name that ends in {' or '.join(ENDINGS)}")
    if path.suffix == ".mp4" and not FFMpegWriter.isAvailable():
        raise InputError(f"animation={path}: a video needs ffmpeg, which is not on the PATH; choose a name in .gif")


def animate(path: Path, runs: Sequence[tuple[str, Watched]]) -> None:
    """Write the animation of runs, each with its label.

    Raises:
        InputError: as `check_writer`.
        StorageError: it cannot be written.
    """
    check_writer(path)
    make_folder(path.parent)
    pictures = list(_pictures(runs))
    if path.suffix == ".gif":
        images = [Image.fromarray(picture).quantize(96, dither=Image.Dither.NONE) for picture, _ in pictures]
        with writing(path) as out:
            images[0].save(
                out, "GIF", save_all=True, append_images=images[1:], duration=[ms for _, ms in pictures], loop=0
            )
        return
    _video(path, pictures)


def _video(path: Path, pictures: Sequence[tuple[Any, int]]) -> None:
    """A picture is repeated for as long as it is seen."""
    height, width = pictures[0][0].shape[:2]
    figure = Figure(figsize=(width / DOTS, height / DOTS), dpi=DOTS)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    shown = axes.imshow(pictures[0][0])
    writer = FFMpegWriter(fps=round(1000 / BETWEEN), extra_args=["-pix_fmt", "yuv420p"])
    with writer.saving(figure, str(path), DOTS):
        for picture, milliseconds in pictures:
            shown.set_data(picture)
            for _ in range(max(1, round(milliseconds / BETWEEN))):
                writer.grab_frame()


def _pictures(runs: Sequence[tuple[str, Watched]]) -> Iterator[tuple[Any, int]]:
    """Each picture, uint8 [height, width, 3], and the milliseconds that it is seen."""
    most = max(len(watched.numbers) for _, watched in runs)
    kept = frames(most)
    moves = any(watched.scene.kind in MOVING for _, watched in runs)
    yield _picture(runs, -1, -1, 1.0), STEP
    before = -1
    for place in kept:
        for tween in range(1, TWEENS if moves else 1):
            part = tween / TWEENS
            yield _picture(runs, place, before, part * part * (3 - 2 * part)), BETWEEN
        yield _picture(runs, place, before, 1.0), LAST if place == kept[-1] else STEP
        before = place


def _picture(runs: Sequence[tuple[str, Watched]], place: int, before: int, part: float) -> Any:
    routed = any(watched.gates is not None for _, watched in runs)
    wide = 1.5 if runs[0][1].scene.kind in WIDE else 1.0
    with rc_context(STYLE | {"figure.facecolor": PAPER}):
        figure = Figure(figsize=(wide * INCHES * len(runs), INCHES + (0.9 if routed else 0.3)), dpi=DOTS)
        ratios = (1.0, 0.12) if routed else (1.0,)
        panels = figure.subplots(len(ratios), len(runs), squeeze=False, height_ratios=ratios)
        figure.subplots_adjust(
            left=0.03, right=0.97, top=0.86, bottom=0.07 if routed else 0.02, hspace=0.14, wspace=0.06
        )
        for column, (label, watched) in enumerate(runs):
            last = len(watched.numbers) - 1
            at, was = min(place, last), min(before, last)
            answers = watched.scene.answers
            now = answers[at] if at >= 0 else None
            draw(panels[0][column], watched.scene, now, answers[was] if was >= 0 else None, part if at != was else 1.0)
            _words(figure, panels[0][column], label, watched, at)
            if routed:
                _gates(panels[1][column], watched, at)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _words(figure: Figure, axes: Any, label: str, watched: Watched, at: int) -> None:
    left = axes.get_position().x0
    step = "the question" if at < 0 else f"step {watched.numbers[at]} of {watched.numbers[-1]}"
    figure.text(left, 0.955, f"{label}: {step}", weight="bold", size=12, color=INK)
    said = "" if at < 0 else str(watched.scene.answers[at]["said"])
    lines = textwrap.wrap(said, 72 if watched.scene.kind in WIDE else 62)[:2]
    figure.text(left, 0.935, "\n".join(lines), size=9, color=MUTED, va="top", linespacing=1.35)


def _gates(axes: Any, watched: Watched, at: int) -> None:
    """The mean gate of each head, a row for each layer."""
    axes.set_axis_off()
    if watched.gates is None or at < 0:
        return
    real = slice(None) if watched.gates.shape[2] == 1 else watched.real
    gates = watched.gates[at][:, real].mean(1).numpy()  # [N, H]
    most = max(1.25, float(watched.gates.max()))
    axes.imshow(gates, cmap=GATE_COLOURS, norm=TwoSlopeNorm(1.0, 0.0, most), aspect="auto")
    axes.set_title(
        "mean gate of each head: blue off, pale 1, orange above", size=8, color=MUTED, weight="normal", pad=3
    )
