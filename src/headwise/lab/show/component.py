"""The part of a page on which a model is watched: its data, its script and its style; nothing comes from outside."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from markupsafe import Markup


def component(title: str, runs: Sequence[Mapping[str, Any]], autoplay: bool = False) -> Markup:
    """An element with the data of one run or two; a page that has some needs `style` and `script` once.

    Args:
        title: the name of the element.
        runs: as `packing.packed`, with label, ended, metric and metric_name.
        autoplay: begin to play where the page shows nothing else and its reader has nothing against motion.
    """
    data = json.dumps({"title": title, "runs": list(runs)}, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&":  # nothing in it ends the element
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    plays = Markup(" data-autoplay") if autoplay else ""
    return Markup(
        '<div class="hw-show"{}><script type="application/json">{}</script>'
        "<noscript><p>The steps are drawn by a script in this page, and scripts are off.</p></noscript></div>"
    ).format(plays, Markup(data))


@cache
def style() -> Markup:
    """The rules of the component; colours are custom properties of the page."""
    return Markup(_text("show.css"))


@cache
def script() -> Markup:
    """The scenes, then the player."""
    return Markup(_text("show.js") + _text("player.js"))


def policy() -> str:
    """The source by which a content security policy lets this script, and no other, run."""
    digest = hashlib.sha256(str(script()).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _text(name: str) -> str:
    return (resources.files("headwise.lab.show") / name).read_text(encoding="utf-8")
