"""The page on which a person watches one run, or two side by side, at work on an example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata

from headwise.errors import InputError
from headwise.lab.report import captions
from headwise.lab.report.page import Watchable, render
from headwise.lab.show.component import component
from headwise.lab.show.shown import Shown

LARGEST = 2_000_000
"""Bytes of a page: a browser shows it at once, and a mail takes it."""
BUDGETS = (1_100_000, 600_000, 250_000, 80_000, 0)
"""Bytes of gates and attention weights, before they become text, for all runs of a page."""


@dataclass(frozen=True)
class ShowPage:
    """What the template shows."""

    title: str
    kicker: str
    headline: str
    lead: Sequence[str]
    examples: Sequence[Watchable]
    command: str
    single: bool
    banner: str = ""
    version: str = field(default_factory=lambda: metadata.version("headwise"))


def show_page(
    task: str, what: str, runs: Sequence[Shown], command: str, quick: bool = False
) -> tuple[str, Sequence[str]]:
    """The page as HTML, and what is left out of it.

    Args:
        task: its name.
        what: which example it is, in a few words.
        runs: one or two.
        command: that made it.
        quick: whether a run is a try whose answers mean nothing.

    Raises:
        InputError: the example alone is larger than a page may be.
    """
    headline = "; ".join(f"{one.label}: {one.ended}" for one in runs) if len(runs) > 1 else _sentence(runs[0].ended)
    for budget in BUDGETS:
        data = [one.data(budget // len(runs)) for one in runs]
        page = ShowPage(
            title=f"{task}: {' and '.join(one.label for one in runs)}",
            kicker=f"{task}, {what}" if len(runs) > 1 else f"{runs[0].label} at work on {task}, {what}",
            headline=headline,
            lead=[],
            examples=[Watchable(what, component(f"{task}, {what}", data, autoplay=True))],
            command=command,
            single=len(runs) == 1,
            banner=captions.QUICK if quick else "",
        )
        text = render(page, "show.html.j2")
        if len(text.encode()) < LARGEST:
            return text, list(dict.fromkeys(note for one in data for note in one["notes"]))
    raise InputError(f"{what}: too large to be drawn on one page of {LARGEST / 1e6:.0f} MB; choose a smaller one")


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
