"""Completion in the shells themselves: keys are typed into a terminal, and the words of the call are looked at.

In place of headwise stands a program that notes its words and hands only the questions of the scripts on.
"""

import json
import os
import pty
import select
import shutil
import sys
import time
from pathlib import Path

import pytest

import headwise
from headwise.commands.completion import SCRIPTS

SOURCE = Path(headwise.__file__).parents[1]
NOTING = f"""\
#!{sys.executable}
import json, os, sys
if sys.argv[1:2] == ["--complete"]:
    sys.path.insert(0, {str(SOURCE)!r})
    from headwise.cli import main
    sys.exit(main())
with open(os.environ["NOTED"] + ".part", "w") as out:
    json.dump(sys.argv[1:], out)
os.rename(os.environ["NOTED"] + ".part", os.environ["NOTED"])
"""
SECONDS = 60  # for the shell to start, and to complete: seconds on a busy machine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `headwise` in `bin`, two runs, one of them finished, and files of awkward names."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "headwise"
    program.write_text(NOTING, encoding="utf-8")
    program.chmod(0o755)
    for run, task in (("sorting-hrm-seed0", "sorting"), ("maze-hrm-seed0", "maze")):
        (tmp_path / "runs" / run).mkdir(parents=True)
        text = f"task: {{name: {task}}}\narm: {{gate: {{name: top_p}}, router: {{name: linear}}}}\n"
        (tmp_path / "runs" / run / "config.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "runs" / "sorting-hrm-seed0" / "summary.json").write_text("{}", encoding="utf-8")
    (tmp_path / "a text.txt").write_text("text", encoding="utf-8")
    return tmp_path


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, folder: Path, shell: str, start: str) -> None:
        self.folder, self.shown = folder, ""
        environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "NOTED": str(folder / "noted"),
            "HOME": str(folder),
            "TERM": "dumb",
            "COLUMNS": "400",
        }
        options = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}
        self.process, self.screen = pty.fork()
        if not self.process:
            os.chdir(folder)
            os.execvpe(shell, [shell, *options[shell]], environment)
        self.type(start + "\n")

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def read(self, seconds: float) -> None:
        """Take what is shown, so that the shell never waits for its terminal."""
        if select.select([self.screen], [], [], seconds)[0]:
            try:
                self.shown += os.read(self.screen, 65536).decode(errors="replace")
            except OSError:  # the shell has ended
                time.sleep(seconds)

    def words(self, line: str) -> list[str]:
        """What `headwise` is called with when a line is typed, its tabs pressed, and sent."""
        noted = self.folder / "noted"
        self.type(line + "\n")
        until = time.monotonic() + SECONDS
        while not noted.exists():
            assert time.monotonic() < until, self.shown
            self.read(0.05)
        found: list[str] = json.loads(noted.read_text())
        noted.unlink()
        return found

    def close(self) -> None:
        self.type("exit\n")
        os.close(self.screen)
        os.waitpid(self.process, 0)


@pytest.fixture
def bash(folder: Path):
    terminal = Terminal(folder, "bash", f"PS1=; bind 'set bell-style none'; source {SCRIPTS / 'headwise.bash'}")
    yield terminal
    terminal.close()


# The line with its tabs, and the words that come of it
TYPED = [
    ("compa\t --json", ["compare", "--json"]),
    ("data g\t", ["data", "get"]),
    ("train task=wa\t", ["train", "task=walk"]),
    ("train task=walk ta\t.ho\t3", ["train", "task=walk", "task.hops=3"]),
    ("train quick=t\t", ["train", "quick=true"]),
    ("train training.sche\tcos\t", ["train", "training.schedule=cosine"]),
    ("train 'task=wa\t", ["train", "task=walk"]),
    ('train "task=wa\t', ["train", "task=walk"]),
    ("compare 'arms=[baseline,looped_\t]'", ["compare", "arms=[baseline,looped_gated]"]),
    ("compare arms=[basel\t]", ["compare", "arms=[baseline]"]),
    ("""compare 'arms=["hrm:refinement.ste\t3"]'""", ["compare", 'arms=["hrm:refinement.steps=3"]']),
    ("evaluate ru\tm\ttask.si\t8", ["evaluate", "runs/maze-hrm-seed0", "task.size=8"]),
    ("evaluate ~/ru\tm\t", ["evaluate", "{home}/runs/maze-hrm-seed0"]),
    ("heads tiny a\\ te\t", ["heads", "tiny", "a text.txt"]),
]


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash(bash: Terminal) -> None:
    for line, words in TYPED:
        expected = [word.format(home=bash.folder) if "{home}" in word else word for word in words]
        assert bash.words(f"headwise {line}") == expected, bash.shown
