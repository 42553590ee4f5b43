"""The parts of a report page and their rendering to one self-contained HTML file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure

from headwise.lab import plot_style
from headwise.lab.formatting import format_normalised
from headwise.lab.show.component import policy, script, style

# The arms' colours on dark paper: the same hues, lighter.
DARK = ("#9aa7b6", "#4fb0ea", "#ff8d4d", "#3fcb9c", "#e58fc4", "#b9a5f5", "#eebc45", "#ff7b80")

FEW = 8
"""Verdicts of pairs, or rows of a task's table, that are shown; where there are more the rest is folded."""


@dataclass(frozen=True)
class Column:
    """A table's column; `bar` draws a normalised score (`Row.normalised`) instead of a cell."""

    title: str
    number: bool = True
    bar: bool = False


@dataclass(frozen=True)
class Row:
    """Cells as text; `colour` is an arm's place, `normalised` its score as 0 at the floor and 1 at the ceiling."""

    cells: Sequence[str]
    colour: int | None = None
    normalised: float | None = None
    reference: bool = False


@dataclass(frozen=True)
class Table:
    """Columns and rows of equal length."""

    columns: Sequence[Column]
    rows: Sequence[Row]

    @property
    def narrow(self) -> bool:
        """A few numbers beside a name, which would drift apart over the whole width of the page."""
        return len(self.columns) <= 4 and all(column.number for column in self.columns[1:])


@dataclass(frozen=True)
class Picture:
    """A plot with its title and the caption that says how to read it."""

    title: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class CaptionedTable:
    """A table with its title and the caption that says how to read it."""

    title: str
    table: Table
    caption: str


@dataclass(frozen=True)
class Analysis:
    """What a task found in one run beyond the metrics; `label` names the run where there are several."""

    label: str
    tables: Sequence[CaptionedTable]
    figures: Sequence[Picture]


@dataclass(frozen=True)
class Watchable:
    """An example on which a model is watched; `about` says which it is, `element` is a `show.component`."""

    about: str
    element: Markup


@dataclass(frozen=True)
class PairVerdict:
    """A pair's verdict: its kind as a badge in a style of the template, and the sentence."""

    kind: str
    style: str
    sentence: str


@dataclass(frozen=True)
class Page:
    """Everything the template shows; what is empty is left out. `pairs` is None where a single run is shown."""

    title: str
    kicker: str
    headline: str
    lead: Sequence[str]
    tiles: Sequence[tuple[str, str]]
    task: Sequence[str]
    arms: Table
    results: Table
    how: Sequence[tuple[str, str]]
    settings: str
    settings_title: str = "Settings in full"
    task_title: str = ""
    banner: str = ""
    result_notes: Sequence[str] = ()
    result_figures: Sequence[Picture] = ()
    result_tables: Sequence[CaptionedTable] = ()
    failures: Sequence[str] = ()
    pairs: Sequence[PairVerdict] | None = None
    pair_figures: Sequence[Picture] = ()
    pair_numbers: Table | None = None
    pair_note: str = ""
    training_figures: Sequence[Picture] = ()
    diagnosis: Sequence[str] = ()
    routing: Table | None = None
    routing_figures: Sequence[Picture] = ()
    routing_note: str = ""
    metrics: Table | None = None
    metrics_note: str = ""
    analyses: Sequence[Analysis] = ()
    examples: Sequence[Watchable] = ()
    examples_note: str = ""
    profile: CaptionedTable | None = None
    caveats: Sequence[str] = ()
    command: str = ""
    version: str = field(default_factory=lambda: metadata.version("headwise"))


def picture(name: str, title: str, figure: Figure, caption: str) -> Picture:
    """A figure as inline SVG; `name` is unique on the page. The markup comes from matplotlib, which escapes labels."""
    svg = plot_style.svg(figure, name).replace("<svg", f'<svg role="img" aria-label="{_attribute(title)}"', 1)
    return Picture(title, Markup(svg), caption)


def numbers(*titles: str) -> list[Column]:
    """Columns of a table whose first column is a name."""
    return [Column(titles[0], number=False), *(Column(title) for title in titles[1:])]


def render(page: Any, template: str = "page.html.j2") -> str:
    """A page as HTML. Labels and messages are escaped: they come from configurations and exceptions.

    Where it has `examples` to watch, the one script that draws them may run.
    """
    context: dict[str, Any] = {"page": page, "light": plot_style.COLOURS, "dark": DARK, "few": FEW, "policy": ""}
    if getattr(page, "examples", ()):
        context |= {"policy": Markup(policy()), "style": style(), "script": script()}
    return _template(template).render(context)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("headwise.lab.report", "."),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
    )
    environment.filters["breakable"] = breakable
    environment.filters["normalised"] = format_normalised
    return environment.get_template(name)


def breakable(label: str) -> Markup:
    """A label, escaped, that may be broken behind its punctuation."""
    return Markup(re.sub(r"(?<=[:,=._/])(?=\w)", "<wbr>", str(Markup.escape(label))))


def _attribute(text: str) -> str:
    return str(Markup.escape(text))
