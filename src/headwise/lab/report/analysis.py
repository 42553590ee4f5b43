"""The part of a report that a task brings along, read from analysis.json without knowing the task."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from headwise.lab import plot_style
from headwise.lab.formatting import format_count, format_metric
from headwise.lab.records import Run, number
from headwise.lab.report.page import Analysis, CaptionedTable, Column, Picture, Row, Table

_SHAPES = {
    "svg",
    "g",
    "title",
    "desc",
    "path",
    "rect",
    "line",
    "circle",
    "ellipse",
    "polygon",
    "polyline",
    "text",
    "tspan",
}
# What may stand before a parenthesis in an attribute: no url(, image-set(, or whatever else can load something
_FUNCTIONS = {"translate", "rotate", "scale", "matrix", "skewX", "skewY", "rgb", "rgba", "hsl", "var"}
_SVG = "{http://www.w3.org/2000/svg}"


def analyses(runs: Mapping[str, Run]) -> list[Analysis]:
    """What the tasks say of the runs, by label; nothing of a run without an analysis, or with a damaged one."""
    found = []
    for label, run in runs.items():
        try:
            tables = [_table(table) for table in run.analysis.get("tables", [])]
            figures = [_picture(figure) for figure in run.analysis.get("figures", [])]
        except (KeyError, TypeError, AttributeError, ValueError, ElementTree.ParseError):
            continue
        if tables or figures:
            found.append(Analysis(label, tables, figures))
    return found


def _table(table: Mapping[str, Any]) -> CaptionedTable:
    rows = [Row([str(first), *map(_cell, cells)]) for first, *cells in table["rows"]]
    words = [any(isinstance(row[place], str) for row in table["rows"]) for place in range(len(table["columns"]))]
    columns = [Column(str(title), number=not word) for title, word in zip(table["columns"], words, strict=True)]
    if any(len(row.cells) != len(columns) for row in rows):
        raise ValueError("a row with more cells than columns")
    return CaptionedTable(str(table["title"]), Table(columns, rows), str(table["caption"]))


def _cell(content: Any) -> str:
    if isinstance(content, str):
        return content
    return format_count(content) if isinstance(content, int) else format_metric(number(content))


def _picture(figure: Mapping[str, Any]) -> Picture:
    """A drawing in the page's colours. It comes from a file, so only shapes and text are let in.

    Raises:
        ValueError: it holds something else: a script, a handler, a link, a style that loads.
    """
    root = ElementTree.fromstring(figure["svg"])
    for element in root.iter():
        unsafe = [key for key in element.attrib if key.lower().startswith("on") or "href" in key.lower() or key == "id"]
        unsafe += [key for key, value in element.attrib.items() if _loads(value)]
        if element.tag.removeprefix(_SVG) not in _SHAPES or unsafe:
            raise ValueError(f"{element.tag} {unsafe}: not a shape or text")
    ElementTree.register_namespace("", _SVG[1:-1])
    text = ElementTree.tostring(root, encoding="unicode")
    for colour, variable in plot_style.PAGE_COLOURS.items():
        text = re.sub(re.escape(colour), f"var({variable})", text)
    return Picture(str(figure["title"]), Markup(text), str(figure["caption"]))


def _loads(value: str) -> bool:
    r"""Whether an attribute could name something outside, also where CSS escapes, as in `U\52L(`, disguise it."""
    called = re.findall(r"([^\s(),:;]*)\(", value)
    return "\\" in value or "/*" in value or "@" in value or not _FUNCTIONS.issuperset(called)
