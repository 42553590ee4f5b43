"""What a user waits for, on standard error while the wait lasts: in a terminal only, so that no log holds it."""

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, TextIO, cast

ERASE = "\r\x1b[K"


class _Waiting:
    """A terminal that shows what is waited for, until anything else is written to it."""

    def __init__(self, terminal: TextIO, text: str) -> None:
        self.terminal, self.text, self.shown = terminal, text, False

    def show(self) -> None:
        self.shown = True
        self.terminal.write(f"{self.text} ...")
        self.terminal.flush()

    def erase(self) -> None:
        if self.shown:
            self.shown = False
            self.terminal.write(ERASE)
            self.terminal.flush()

    def write(self, text: str) -> int:
        self.erase()
        return self.terminal.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.terminal, name)


@contextlib.contextmanager
def waiting(text: str, speaks: bool = True) -> Iterator[None]:
    """Inside the block the terminal shows `text` and three points, until something else is written to it.

    Args:
        text: what is being done: "loading torch".
        speaks: whether this process reports at all.
    """
    terminal, out = sys.stderr, sys.stdout
    if not speaks or terminal is None or not terminal.isatty():
        yield
        return
    # A wait inside another, `loading torch` inside `loading headwise`, takes its place and gives it back
    above = terminal if isinstance(terminal, _Waiting) and terminal.shown else None
    if above is not None:
        above.erase()
    line = _Waiting(above.terminal if above is not None else terminal, text)
    line.show()
    stream = cast(TextIO, line)
    sys.stderr, sys.stdout = stream, stream if out is terminal else out
    try:
        yield
    finally:
        nothing_else = line.shown
        line.erase()
        sys.stderr = terminal
        if sys.stdout is stream:
            sys.stdout = out
        if above is not None and nothing_else:
            above.show()


class Announced(importlib.abc.MetaPathFinder):
    """Says so in a terminal when a module is imported that takes long, once, wherever that happens.

    Args:
        name: of the module.
        speaks: whether this process reports at all.
    """

    def __init__(self, name: str, speaks: bool = True) -> None:
        self.name, self.speaks = name, speaks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def announced(module: ModuleType) -> None:
                with waiting(f"loading {self.name}", self.speaks):
                    execute(module)

            spec.loader.exec_module = announced  # type: ignore[method-assign]
        return spec
