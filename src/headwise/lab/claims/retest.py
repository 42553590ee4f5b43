"""A test of a claim: its commands are run as a user would type them, and its rules judge what they print.

Each command is a process of its own with `--json`. What it left in the claim's directory is taken up again, as always
when a command has its output= there.
"""

import contextlib
import json
import math
import os
import platform
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import make_folder, write_json
from headwise.lab.claims.claim import last_verdict, read_claim, read_verdict
from headwise.lab.claims.rules import together
from headwise.lab.outputs import VERDICT
from headwise.provenance import source_code
from headwise.schema import to_plain

QUICK = "no verdict"
# `headwise`, in a process that does not outlive the one that waits for it
COMMAND = """
import sys
from headwise.cli import main
from headwise.training.orphans import end_with
end_with(int(sys.argv[1]))
sys.argv = ["headwise", *sys.argv[2:]]
sys.exit(main())
"""


class CommandFailedError(RuntimeError):
    """A command of a claim ended without a result."""


def retest(file: Path, output: Path, quick: bool = False) -> dict[str, Any]:
    """Run the commands of the claim in `file`, judge them, and write the verdict.

    Args:
        file: of the claim.
        output: directory in which the claim gets one of its own.
        quick: try whether the commands work, with cut-down settings: no verdict.

    Returns:
        The content of verdict.json.

    Raises:
        InputError: the claim cannot be read, or its rules look for what the results do not have.
        CommandFailedError: a command ended without a result.
    """
    claim, name = read_claim(file), file.stem
    folder = output / name / "quick" if quick else output / name
    make_folder(folder)
    before = {each["command"]: each["seconds"] for each in read_verdict(folder / VERDICT).get("commands", ())}
    results, commands, spent = {}, [], list[float]()
    for key, command in claim.commands.items():
        words = command.words(folder, file.parent, quick)
        # Without the place of the claim's file, which is another one elsewhere
        typed = shlex.join(["headwise", *command.words(folder, Path("{here}"), quick)])
        began = time.monotonic()
        results[key] = _result_of(words, quick, f"claims {name}: command {key}", typed)
        # One that only reads again what it had trained took what that took
        spent.append(max(round(time.monotonic() - began, 1), before.get(typed, 0.0)))
        commands.append({"name": key, "command": typed, "seconds": spent[-1]})
    judged = [rule.judge(results) for rule in claim.rules]
    verdict = {
        "claim": name,
        "outcome": QUICK if quick else together(judged),
        "evidence": [{"outcome": one.outcome, "text": one.evidence} for one in judged],
        "commands": commands,
        "seconds": math.fsum(spent),
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "headwise": source_code(),
        "quick": quick,
    }
    write_json(folder / VERDICT, verdict)
    return verdict


def described(file: Path, verdict: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A claim as plain values, with a verdict; by default the one that is kept beside its file, if there is one."""
    claim = read_claim(file)
    kept = last_verdict(file) if verdict is None else verdict
    return {"name": file.stem, **to_plain(claim), "slow": claim.slow, "verdict": kept or None}


def _result_of(words: Sequence[str], quick: bool, where: str, typed: str) -> Any:
    """What a command prints with `--json`; its progress is seen as it comes."""
    environment = os.environ | ({"HEADWISE_QUICK": "1"} if quick else {})
    # A session of its own: Ctrl-C would reach it and us, and a command that hears it twice ends at once
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(os.getpid()), *words, "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    with _heard():
        try:
            printed, _ = process.communicate()
        except KeyboardInterrupt:
            process.terminate()  # which also reaches one that has not come to listen yet
            process.wait()
            raise
    try:
        return json.loads(printed)
    except ValueError:
        said = f"{where} ended with exit code {process.returncode} and no result: {typed}"
        raise InputError(said) if process.returncode == 2 else CommandFailedError(said) from None


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Inside the block, in the main thread, Ctrl-C and SIGTERM interrupt, so that a command can be told: the latter
    would end us, and a shell lets its background jobs ignore the former."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
