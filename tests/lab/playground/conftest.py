"""A page with two small models, built once, served on this machine, and looked at with a browser that sees no other."""

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headwise.lab.playground.build import build
from tests.conftest import PATIENCE
from tests.lab.thinking.conftest import trained

LOOP = {"refinement": {"steps": 4, "injection": "input"}}
MAZES = {"size": 5, "min_path_length": 4, "train_mazes": 24, "validation_mazes": 8, "test_mazes": 16}
PUZZLES = {"size": 4, "train_puzzles": 24, "validation_puzzles": 8, "test_puzzles": 16}


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and writes no log."""

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Mazes and sudokus, of six updates."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "maze": trained(folder / "maze", {"name": "maze", "positions": "none", **MAZES}, LOOP),
        "sudoku": trained(folder / "sudoku", {"name": "sudoku", **PUZZLES}, LOOP),
    }


@pytest.fixture(scope="session")
def folder(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page."""
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: ONNX Runtime for browsers comes from there")
    output = tmp_path_factory.mktemp("page") / "play"
    build(runs, output, say=lambda line: None)
    return output


@pytest.fixture(scope="session")
def address(folder: Path) -> Iterator[str]:
    """Where it is served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    server.daemon_threads = True  # a connection that the browser keeps open must not hold up the end
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


class Page:
    """A page that is open, and what went wrong on it."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.problems = page, list[str]()
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))

        def only_here(route: Any) -> None:
            if route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                self.problems.append(f"asked for {route.request.url}")
                route.abort()

        page.route("**/*", only_here)
        page.goto(address)
        self.ready("maze")

    def ready(self, name: str) -> None:
        """Wait until the model of a puzzle is there."""
        self.page.wait_for_function(f"document.documentElement.dataset.ready === '{name}'")

    def after(self, steps: int) -> None:
        """Wait until the model has taken so many steps by itself."""
        self.page.wait_for_function(f"playground.step === {steps} && !playground.playing")


@pytest.fixture
def page(chromium: Any, address: str) -> Iterator[Page]:
    """The page, anew; nothing may have gone wrong on it."""
    yield from opened(chromium, address)


@pytest.fixture
def phone(chromium: Any, address: str) -> Iterator[Page]:
    """The same on a narrow screen that is touched."""
    yield from opened(chromium, address, has_touch=True, is_mobile=True, viewport={"width": 360, "height": 640})


def opened(chromium: Any, address: str, **settings: Any) -> Iterator[Page]:
    context = chromium.new_context(**settings)
    context.set_default_timeout(1000 * PATIENCE)
    page = Page(context.new_page(), address)
    yield page
    context.close()
    assert page.problems == []
