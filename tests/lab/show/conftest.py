"""Pages that are opened in a browser without a network, in which no time passes but what a test lets pass."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PATIENCE


class Opened:
    """A page that is open, with what it complained of and what it asked the network for."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page, self.problems, self.requests = page, list[str](), list[str]()
        self.listeners = {
            "console": lambda message: self.problems.append(message.text),
            "pageerror": lambda error: self.problems.append(str(error)),
            "request": lambda request: self.requests.append(request.url),
        }
        for event, listener in self.listeners.items():
            page.on(event, listener)
        page.goto(file.as_uri())
        page.wait_for_selector(".hw-ready")
        self.requests.remove(file.as_uri())

    @property
    def frame(self) -> int:
        return int(self.page.get_attribute(".hw-show", "data-frame"))

    @property
    def playing(self) -> bool:
        return bool(self.page.get_attribute(".hw-show", "data-playing") == "true")

    def wait(self, seconds: float) -> None:
        """Let time pass on the page, at once."""
        self.page.clock.run_for(1000 * seconds)

    def leave(self) -> None:
        """Hear nothing more of it."""
        for event, listener in self.listeners.items():
            self.page.remove_listener(event, listener)


def timeless(chromium: Any, **settings: Any) -> Any:
    """An empty page of a context of its own, offline; its clock stands."""
    context = chromium.new_context(**({"reduced_motion": "reduce"} | settings))
    context.set_default_timeout(1000 * PATIENCE)
    context.set_offline(True)
    page = context.new_page()
    page.clock.install(time=0)
    page.clock.pause_at(1)
    return page


@pytest.fixture(scope="module")
def shared(chromium: Any) -> Iterator[Any]:
    """A page for all tests that want nothing special: a new one takes longer than what most of them do with it."""
    page = timeless(chromium)
    yield page
    page.context.close()


@pytest.fixture
def opened(chromium: Any, shared: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens the text of a page; in a context of its own where it is told settings of that."""
    every, contexts = list[Opened](), []

    def open_page(text: str, **settings: Any) -> Opened:
        file = tmp_path / f"page{len(every)}.html"
        file.write_text(text, encoding="utf-8")
        page = shared
        if settings:
            page = timeless(chromium, **settings)
            contexts.append(page.context)
        every.append(Opened(page, file))
        return every[-1]

    yield open_page
    for one in every:
        one.leave()
    shared.emulate_media(color_scheme="light")
    for context in contexts:
        context.close()
