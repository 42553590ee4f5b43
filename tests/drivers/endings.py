"""Runs a command in a process of its own, within bounds of time and memory, and judges how it ended."""

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

LONGEST = 60.0  # seconds of a command; the slowest that is in order takes three on a busy core
MOST = 1500  # MiB that a command may hold; one that is in order has 600
LONGEST_LINE = 1000  # characters


@dataclass(frozen=True)
class Outcome:
    """How a command ended: `fault` is empty where it ended as it should."""

    words: tuple[str, ...]
    how: str
    fault: str
    code: int
    seconds: float
    said: str


def run(words: list[str], folder: Path) -> Outcome:
    """Run one command in `folder`, in a process of its own, and judge how it ended."""
    out, err = folder / ".out", folder / ".err"
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _be_child(words, folder, out, err)
    with contextlib.suppress(OSError):  # the child does it, too: whoever comes first
        os.setpgid(child, child)
    code, fault = None, ""
    while code is None:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            if usage.ru_maxrss / 1024 > MOST:
                fault = f"memory: {usage.ru_maxrss // 1024} MiB"
        elif time.monotonic() - began > LONGEST or _resident(child) > MOST:
            fault = "hang" if time.monotonic() - began > LONGEST else "memory"
            os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.005)
    said = err.read_text(errors="replace")
    judged = fault or judge(words, code, said, folder)
    return Outcome(tuple(words), "", judged, code, time.monotonic() - began, said[-3000:])


def judge(words: list[str], code: int, said: str, folder: Path) -> str:
    """What is wrong with an ending; empty if nothing is."""
    ours = [line for line in said.splitlines() if line.startswith("headwise:")]
    left = [path for path in folder.rglob("*") if path.name.endswith(".tmp") or path.name == "next.ckpt"]
    if "Traceback (most recent call last)" in said:
        return "traceback"
    if code not in (0, 1, 2):
        return f"exit {code}"
    if code == 1 and words[0] == "parse" and ours and ours[-1].endswith("with a problem"):
        # A line for each sentence that cannot be read, and the sum
        named = int(ours[-1].rpartition("; ")[2].split()[0])
        return "" if len(ours) == named + 1 else f"{len(ours)} lines for {named} problems"
    if code == 1 and words[0] == "ladder" and " checks, failed at " in said.splitlines()[-1]:
        return ""  # a verdict, not an error: it stands on standard output
    if code == 1 and words[0] == "doctor" and not ours:
        return ""  # findings, on standard output
    if code and len(ours) != 1:
        return f"{len(ours)} lines"
    if code and said.rstrip().splitlines()[-1] != ours[0]:
        return "further lines"
    if max(map(len, said.splitlines()), default=0) > LONGEST_LINE:
        return "a long line"
    return f"leftovers: {left[0].name}" if left else ""


def _be_child(words: list[str], folder: Path, out: Path, err: Path) -> None:
    code = 99
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.stdin = os.fdopen(0)
        sys.stdout, sys.stderr = os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", encoding="utf-8")
        sys.setrecursionlimit(1000)  # as it is in a program of its own
        from headwise.cli import main

        code = main(words)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _resident(pid: int) -> float:
    """MiB that a process holds."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
    return 0.0
