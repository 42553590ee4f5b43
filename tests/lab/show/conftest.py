"""Pages that are opened in a browser without a network."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Opened:
    """A page that is open, with what it complained of and what it asked the network for."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page, self.problems, self.requests = page, list[str](), list[str]()
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_selector(".hw-ready")
        self.requests.remove(file.as_uri())

    @property
    def frame(self) -> int:
        return int(self.page.get_attribute(".hw-show", "data-frame"))

    @property
    def playing(self) -> bool:
        return bool(self.page.get_attribute(".hw-show", "data-playing") == "true")

    def until(self, frame: int) -> None:
        self.page.wait_for_selector(f'.hw-show[data-frame="{frame}"]')


@pytest.fixture
def opened(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens the text of a page, offline; `settings` are those of a browser context."""
    contexts = []

    def open_page(text: str, **settings: Any) -> Opened:
        file = tmp_path / f"page{len(contexts)}.html"
        file.write_text(text, encoding="utf-8")
        contexts.append(chromium.new_context(**({"reduced_motion": "reduce"} | settings)))
        contexts[-1].set_offline(True)
        return Opened(contexts[-1].new_page(), file)

    yield open_page
    for context in contexts:
        context.close()
