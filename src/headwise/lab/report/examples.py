"""A few test examples of a run on which its page shows the model at work."""

from __future__ import annotations

from pathlib import Path

from headwise.errors import InputError
from headwise.lab.report.page import Watchable
from headwise.lab.show.choose import MEANINGS, Choice, Looked, choose, look
from headwise.lab.show.component import component
from headwise.lab.show.shown import shown
from headwise.models.checkpoint import WEIGHTS
from headwise.training.opened import open_run

WANTED: tuple[Choice, ...] = ("solved", "failed", "halted", "latest")
BUDGET = 150_000
"""Bytes of gates and attention weights of an example, so that a page with four stays below 2 MB."""


def watchable(directory: Path) -> tuple[list[Watchable], str]:
    """The examples of a finished run, and why there are none where its data or its model are not to be had."""
    if not (directory / WEIGHTS).is_file():
        return [], ""
    try:
        run = open_run(directory)
        found = []
        for place, about in _wanted(look(run)).items():
            one = shown(run, run.example(place))
            found.append(Watchable(f"Test example {place}: {about}", component(about, [one.data(BUDGET)])))
        return found, ""
    except InputError as error:
        return [], f"Not shown: {error}."


def _wanted(seen: Looked) -> dict[int, str]:
    """Places of the examples, each with what it is there for."""
    about: dict[int, list[str]] = {}
    for what in WANTED:
        if (place := choose(seen, what)) is not None:
            about.setdefault(place, []).append(MEANINGS[what])
    return {place: ", and ".join(words) for place, words in about.items()}
