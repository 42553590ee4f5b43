"""The driver of bad inputs sees what it is there for, and a few inputs find nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headwise import cli
from tests.drivers import endings
from tests.drivers.endings import judge, run


@pytest.mark.parametrize(
    ("code", "said", "fault"),
    [
        (0, "", ""),
        (2, "reading\nheadwise: file.json: damaged\n", ""),
        (1, "Traceback (most recent call last):\n  ...\nKeyError: 'a'\n", "traceback"),
        (2, "headwise: a\nheadwise: b\n", "2 lines"),
        (2, "headwise: a\nand more\n", "further lines"),
        (2, "", "0 lines"),
        (1, "headwise: line 3: no word\nheadwise: 9 sentences; 1 with a problem\n", ""),
        (1, "headwise: line 3: no word\nheadwise: 9 sentences; 2 with a problem\n", "2 lines for 2 problems"),
        (2, f"headwise: {'x' * 2000}\n", "a long line"),
        (-9, "", "exit -9"),
    ],
)
def test_an_ending_is_judged(code: int, said: str, fault: str, tmp_path: Path) -> None:
    assert judge(["parse"], code, said, tmp_path) == fault


def test_the_verdict_of_a_ladder_is_no_error(tmp_path: Path) -> None:
    assert judge(["ladder"], 1, "gumbel: 9 checks, failed at active heads\n", tmp_path) == ""
    assert judge(["ladder"], 1, "gumbel: 9 checks, passed\n", tmp_path) == "0 lines"


def test_what_is_left_behind_is_seen(tmp_path: Path) -> None:
    (tmp_path / ".summary.json.17.tmp").touch()
    assert judge(["train"], 0, "", tmp_path) == "leftovers: .summary.json.17.tmp"


def test_a_command_that_hangs_or_takes_memory_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "LONGEST", 0.5)
    monkeypatch.setattr(cli, "main", lambda words: time.sleep(60))
    assert run([], tmp_path).fault == "hang"
    monkeypatch.setattr(endings, "LONGEST", 60.0)
    monkeypatch.setattr(endings, "MOST", endings._resident(os.getpid()) + 200)
    monkeypatch.setattr(cli, "main", lambda words: len(bytes(2**30).replace(b"\0", b"x")))
    assert run([], tmp_path).fault.startswith("memory")


@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has loaded torch")
def test_a_few_inputs_end_in_one_line() -> None:
    # In a process of its own: this one may have computed with several threads, which a fork would wait for.
    # Kinds that train nothing first; `.ci/run` has a minute of all of them.
    kinds = ["words", "settings", "corpora", "treebanks"]
    words = ["--number", str(len(kinds)), "--seed", "11", "--only", ",".join(kinds)]
    driver = [sys.executable, "-m", "tests.drivers.bad_inputs", *words]
    ended = subprocess.run(driver, capture_output=True, text=True, check=False)
    assert ended.stdout.startswith(f"{len(kinds)} inputs, 0 faults"), ended.stdout + ended.stderr
