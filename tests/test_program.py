"""headwise as a program of its own: what it loads, which streams it may lack, and Ctrl-C."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from headwise import cli
from headwise.commands.catalogue import commands

HEADWISE = [sys.executable, "-m", "headwise"]
SECONDS = 600  # until a process that hangs is given up, on a machine however busy
SMALL = ["model.width=16", "model.heads=2", "model.ffn=16", "task.length=6", "task.train_examples=32"]
SMALL += ["task.validation_examples=16", "task.test_examples=16", "training.loggers=[]"]
LISTED = [
    ["--help"],
    ["--version"],
    ["help"],
    ["list"],
    ["list", "settings", "gates"],
    ["help", "arm"],
    ["help", "arm.gate"],
    ["help", "task=maze"],
    ["help", "training.updates", "--json"],
    *([*name.split(), "--help"] for name in commands()),
]
# One after the other in one process: code, and what each was the first to import
LISTING = """
import contextlib, io, json, sys
from headwise.cli import main
heavy = {"torch", "numpy", "scipy", "matplotlib", "lightning", "hydra", "transformers", "tokenizers", "conllu"}
found = []
for words in json.loads(sys.argv[1]):
    before = set(sys.modules)
    with contextlib.redirect_stdout(io.StringIO()):
        code = main(words)
    found.append([words, code, sorted(heavy & (set(sys.modules) - before))])
print(json.dumps(found))
"""


def test_what_is_listed_or_explained_is_not_imported() -> None:
    """Under a second follows; timing it here would only measure how busy the machine is."""
    command = [sys.executable, "-c", LISTING, json.dumps(LISTED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [[words, 0, []] for words in LISTED]


@pytest.mark.parametrize(("policy", "spins"), [({}, "1000"), ({"OMP_WAIT_POLICY": "active"}, "")])
def test_threads_wait_briefly_unless_the_environment_says_otherwise(policy: dict[str, str], spins: str) -> None:
    """Beside another program threads that look for each other for milliseconds make minutes of seconds."""
    program = (
        "import os, headwise.cli; headwise.cli.main(['runs', '--help']); print(os.environ.get('GOMP_SPINCOUNT', ''))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"} | policy
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS, env=environment
    )
    assert done.stdout.splitlines()[-1] == spins, done.stderr


def test_the_module_is_a_program() -> None:
    done = subprocess.run([*HEADWISE, "--version"], capture_output=True, text=True, check=True, timeout=SECONDS)
    assert done.stdout.startswith("headwise 0.")


@pytest.mark.parametrize(
    ("words", "closed", "code"), [("list", ">&-", 0), ("list", "2>&-", 0), ("trian", "0<&- >&- 2>&-", 2)]
)
def test_a_standard_stream_may_be_closed(words: str, closed: str, code: int) -> None:
    line = f"{shlex.join(HEADWISE)} {words} {closed}"
    ended = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=SECONDS)
    assert (ended.returncode, ended.stderr) == (code, "")


PRESSED = """
import signal, sys
from headwise.cli import main
from headwise.training.recorder import Recorder

def pressed(recorder, update, *arguments):
    if update == 60:
        signal.raise_signal(signal.SIGINT)
    return after_step(recorder, update, *arguments)

after_step, Recorder.after_step = Recorder.after_step, pressed
sys.exit(main())
"""


def test_ctrl_c_leaves_a_run_that_the_printed_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It comes during an update, so that the run cannot have ended before, however busy the machine."""
    monkeypatch.chdir(tmp_path)
    words = ["train", *SMALL, "training.updates=80", "training.batch_size=8", "training.validate_every=50"]
    stopped = subprocess.run([sys.executable, "-c", PRESSED, *words], capture_output=True, text=True, timeout=SECONDS)
    assert stopped.returncode == 130, stopped.stderr
    assert stopped.stdout == ""
    last = stopped.stderr.splitlines()[-1]
    assert last.startswith("headwise: ")
    assert "Traceback" not in stopped.stderr

    command = shlex.split(last.partition("continue with: ")[2])
    assert command[:2] == ["headwise", "train"]
    assert cli.main([*command[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["updates"] == 80
    assert len(list((tmp_path / "runs").iterdir())) == 1
