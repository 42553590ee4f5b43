"""Completion in the shells themselves: keys are typed into a terminal, and the words of the call are looked at.

In place of headwise stands a program that notes its words and hands only the questions of the scripts on.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import headwise
from headwise.cli import main
from headwise.commands.candidates import candidates
from headwise.commands.completion import SCRIPTS, answer
from headwise.commands.shell_words import BREAKS, read_line

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
SECONDS = 180  # for the shell to start, and to complete: a second, and many on a busy machine
# The program that is named takes the terminal on which it was started for its own
CONTROLLING = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)


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
        self.screen, inside = os.openpty()
        # Not pty.fork: what a fork copies of a process with threads, torch's among them, may be locked for ever
        command = [sys.executable, "-c", CONTROLLING, shell, *options[shell]]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
        )
        os.close(inside)
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
            assert self.process.poll() is None, self.shown
            self.read(0.05)
        found: list[str] = json.loads(noted.read_text())
        noted.unlink()
        return found

    def close(self) -> None:
        """End the shell, which hears that its terminal has gone; one that does not care is killed."""
        os.close(self.screen)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


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
    ("evaluate runs/so\ttask.le\t8", ["evaluate", "runs/sorting-hrm-seed0", "task.length=8"]),
    ("heads tiny a\\ te\t", ["heads", "tiny", "a text.txt"]),
]


STARTS = {
    "bash": f"PS1=; bind 'set bell-style none'; source {SCRIPTS / 'headwise.bash'}",
    "zsh": f"PS1=; autoload -Uz compinit; compinit -u -D; unsetopt list_beep; source {SCRIPTS / 'headwise.zsh'}",
    "fish": f"source {SCRIPTS / 'headwise.fish'}",
}
BARE = "compare arms=[basel\t]"  # zsh takes bare brackets for a pattern and completes nothing


@pytest.mark.parametrize("shell", STARTS)
def test_a_line_typed_with_tabs_becomes_the_words_that_were_meant(shell: str, folder: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    terminal = Terminal(folder, shell, STARTS[shell])
    try:
        for line, words in TYPED:
            if shell != "zsh" or line != BARE:
                expected = [word.replace("{home}", str(folder)) for word in words]
                assert terminal.words(f"headwise {line}") == expected, terminal.shown
    finally:
        terminal.close()


def texts(*words: str) -> list[str]:
    *before, current = words
    return [each.text for each in candidates(before, current)]


def test_the_keys_of_a_group_follow_what_the_line_has_chosen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert "task.size=" in texts("train", "task=maze", "task.")
    assert "task.size=" not in texts("train", "task=sorting", "task.")
    assert (
        texts("train", "task=sudoku_4", "task.s") == texts("train", "task=sudoku", "task.s") != []
    )  # a file of values
    assert "arm.gate.k=" in texts("train", "arm=pointer", "arm.gate.")
    assert "arm.gate.k=" not in texts("train", "arm=pointer", "arm.gate=top_p", "arm.gate.")
    assert "arm.gate.threshold=" in texts("train", "arm=pointer", "arm.gate={name: top_p}", "arm.gate.")
    assert "arm.gate.threshold=" in texts("evaluate", "runs/maze-hrm-seed0", "arm.gate.")  # what the run says
    assert "task.length=" in texts("evaluate", "runs/sorting-hrm-seed0", "task.")
    assert texts("evaluate", "runs/none", "task.") == []
    assert texts("compare", 'arms=["hrm:controller.per') == ['arms=["hrm:controller.period=']
    assert texts("compare", 'arms=["slow=hrm:controller.per') == ['arms=["slow=hrm:controller.period=']
    assert 'arms=["slow=hrm_token' in texts("compare", 'arms=["slow=hrm_')


def test_candidates_of_every_kind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert {"train", "data", "claims", "solve"} <= set(texts(""))
    assert "run" in texts("claims", "ru")  # beside the folder, which may hold a claim of one's own
    assert texts("train", "device=") == ["device=auto", "device=cpu", "device=cuda", "device=mps"]
    assert texts("train", "arm.gate=top") == ["arm.gate=top_k", "arm.gate=top_p"]
    assert texts("train", "model.size=t") == ["model.size=tiny"]
    assert texts("train", "training.losses.lo") == ["training.losses.load_balance="]
    assert texts("train", "--dr") == ["--dry_run"]
    assert texts("help", "arm.gate=uni") == ["arm.gate=unit"]
    assert texts("list", "gat") == ["gates"]
    assert texts("completion", "z") == ["zsh"]
    assert texts("evaluate", "runs/") == ["runs/maze-hrm-seed0", "runs/sorting-hrm-seed0"]
    assert texts("train", "resume=r") == ["resume=runs/"]
    assert texts("nonsense", "") == []
    assert "seeds=" not in texts("compare", "seeds=3", "s")


def test_an_answer_loads_neither_torch_nor_what_draws_tables() -> None:
    every = (["compare", 'arms=["hrm:gate=to'], ["train", "arm=hrm", "arm.controller."], ["tr"])
    program = f"""
import sys
from headwise.cli import main
for words in {every!r}:
    main(["--complete", "fish", *words])
    print(sorted({{'torch', 'numpy', 'rich', 'hydra', 'omegaconf'}} & set(sys.modules)))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
    answers = done.stdout.split("[]\n")
    assert len(answers) == len(every) + 1, done.stdout
    assert all(answers[:-1])
    assert answers[-1] == ""


@pytest.mark.parametrize(
    ("line", "words", "current", "quote", "replaced"),
    [
        ("headwise tr", ("headwise",), "tr", "", "tr"),
        ("headwise ", ("headwise",), "", "", ""),
        ("headwise task=ma", ("headwise",), "task=ma", "", "ma"),
        ("headwise arms=[hrm:st", ("headwise",), "arms=[hrm:st", "", "st"),
        ("headwise 'arms=[hrm:st", ("headwise",), "arms=[hrm:st", "'", "arms=[hrm:st"),
        ("headwise arms='[a,b", ("headwise",), "arms=[a,b", "'", "[a,b"),
        ("headwise 'a b' c\\ d", ("headwise", "a b"), "c d", "", "c d"),
        ('headwise "x=\\"y', ("headwise",), 'x="y', '"', 'x="y'),
    ],
)
def test_a_line_is_parted_as_bash_parts_it(
    line: str, words: tuple[str, ...], current: str, quote: str, replaced: str
) -> None:
    read = read_line(line, BREAKS)
    assert (read.words, read.current, read.quote) == (words, current, quote)
    assert read.current[read.kept :] == replaced


def test_in_an_open_quote_bash_gets_a_second_reply_where_more_is_to_follow() -> None:
    """Behind the only reply it would close the quote, in the middle of the word."""
    replies = answer(["bash", BREAKS, "headwise train 'training.sched"]).splitlines()
    assert replies == ["training.schedule=", "training.schedule=..."]


def test_the_scripts_are_printed_and_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in STARTS:
        assert main(["completion", shell]) == 0
        assert capsys.readouterr().out == (SCRIPTS / f"headwise.{shell}").read_text()
    assert main(["completion", "tcsh"]) == 2
    assert "choose one of bash, zsh, fish" in capsys.readouterr().err
