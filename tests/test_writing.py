"""Commands of tasks that write as they go along: when the text goes out, what else is printed, and how it ends."""

import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from headwise import cli
from headwise.commands.catalogue import commands
from headwise.tasks import TASKS
from headwise.tasks.base import Ending
from tests import recital_recite

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def task(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A task that brings the command `recite` along."""
    monkeypatch.setitem(TASKS._members, "recital", "tests.recital:ENTRY")
    commands.cache_clear()
    yield
    commands.cache_clear()


def planted_writing(monkeypatch: pytest.MonkeyPatch, parts: Iterable[str], ending: Ending) -> None:
    """`recite` writes the parts and ends so."""
    monkeypatch.setattr(recital_recite, "parts", parts)
    monkeypatch.setattr(recital_recite, "ending", ending)


def test_a_command_may_write_as_it_goes_with_its_logs_elsewhere(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    seen: list[bytes] = []

    def parts() -> Iterator[str]:
        yield "one é\n"
        print("half way")
        seen.append(file.getvalue())
        yield "two\n"

    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, encoding="latin-1"))
    planted_writing(monkeypatch, parts(), Ending(code=1))
    assert cli.main(["recite"]) == 1
    assert seen == ["one é\n".encode()], "the first part is out before the second is made"
    assert file.getvalue() == "one é\ntwo\n".encode()
    assert capsys.readouterr().err == "half way\n"


def test_what_a_command_writes_is_a_part_of_its_json(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    planted_writing(monkeypatch, ["one\n", "two\n"], Ending({"lines": 2}, 1))
    assert cli.main(["recite", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {"text": "one\ntwo\n", "lines": 2}


def test_a_mistake_that_shows_late_is_one_line_behind_what_was_written(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts() -> Iterator[str]:
        yield "one\n"
        raise cli.InputError("stdin: byte 4 is not UTF-8")

    planted_writing(monkeypatch, parts(), Ending())
    assert cli.main(["recite"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("one\n", "headwise: stdin: byte 4 is not UTF-8\n")


def test_text_goes_out_as_utf_8_on_any_terminal_and_a_reader_may_stop(tmp_path: Path) -> None:
    """A file of its own plays the program: `| head -1` closes the pipe while more is to come."""
    (tmp_path / "recite.py").write_text(
        "import sys\n"
        "from headwise import cli\n"
        "from headwise.tasks import TASKS\n"
        "from tests import recital_recite\n"
        "recital_recite.parts = ('dépendance\\n' * 10 for _ in range(100000))\n"
        "TASKS.register('recital', 'tests.recital:ENTRY')\n"
        "sys.exit(cli.main(['recite']))\n",
        encoding="utf-8",
    )
    command = f"PYTHONIOENCODING=latin-1 {shlex.quote(sys.executable)} recite.py | head -1"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=120, cwd=tmp_path, env=environment)
    assert done.stdout == "dépendance\n".encode()
    assert done.stderr == b""
