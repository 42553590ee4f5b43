"""What a terminal shows while one waits, and that it leaves no trace in it, nor anything in a log."""

import io
import sys
from pathlib import Path

import pytest

from headwise.training.waiting import ERASE, Announced, waiting


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def seen(self) -> str:
        """What stands on the line in the end: everything behind the last return that erased it."""
        return self.getvalue().replace(ERASE, "\n").rpartition("\n")[2]


def opened(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal for both streams; made in the test, as pytest sets them itself between a fixture and the test."""
    made = Screen()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setattr(sys, "stdout", made)
    return made


def test_the_line_is_there_inside_and_gone_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = opened(monkeypatch)
    with waiting("loading"):
        assert screen.seen == "loading ..."
    assert screen.seen == ""
    assert sys.stderr is sys.stdout is screen


def test_it_makes_way_for_whatever_else_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = opened(monkeypatch)
    with waiting("loading"):
        print("first", end="")
        assert screen.seen == "first"
        print(" and second", end="", file=sys.stderr)
    assert screen.seen == "first and second"


def test_a_wait_inside_another_takes_its_place_and_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = opened(monkeypatch)
    with waiting("outer"):
        with waiting("inner"):
            assert screen.seen == "inner ..."
        assert screen.seen == "outer ..."
        with waiting("inner"):
            print("said", file=sys.stderr)
        assert screen.seen == ""
    assert screen.getvalue().count("said\n") == 1


def test_an_error_inside_leaves_the_terminal_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = opened(monkeypatch)
    with pytest.raises(KeyboardInterrupt), waiting("loading"):
        raise KeyboardInterrupt
    assert screen.seen == ""
    assert sys.stderr is screen


def test_without_a_terminal_and_in_processes_that_do_not_report_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = opened(monkeypatch)
    with waiting("loading", speaks=False):
        pass
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    with waiting("loading"):
        pass
    assert screen.getvalue() == log.getvalue() == ""


def test_an_import_is_announced_once_wherever_it_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = opened(monkeypatch)
    text = "import sys\nseen = sys.stderr.terminal.seen\n"
    (tmp_path / "takes_long.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [Announced("takes_long"), *sys.meta_path])
    import takes_long  # type: ignore[import-not-found]

    assert takes_long.seen == "loading takes_long ..."
    assert screen.seen == ""
    assert not [finder for finder in sys.meta_path if isinstance(finder, Announced)]
