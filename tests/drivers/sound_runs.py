"""Trains small sound runs of all arms on all tasks and has the doctor examine them: what it finds is a false alarm.

    python -m tests.drivers.sound_runs --number 40 --seed 0 [--only maze] [--updates 60]

A finding that is sure or likely counts. At most one run in forty may have one; the exit code is 1 where more have.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headwise.errors import InputError
from headwise.lab.doctor.examine import diagnose
from headwise.lab.doctor.findings import Finding
from headwise.tasks import TASKS
from headwise.training.config import RunConfig
from headwise.training.configuration import load
from headwise.training.presets import presets
from headwise.training.run import train

# The defaults of the arms are made for eight heads
SMALL = ["model.width=32", "model.heads=8", "model.ffn=32", "model.depth=2", "training.loggers=[]", "device=cpu"]
SMALLER = {
    "sorting": ["task.length=6", "task.train_examples=200", "task.validation_examples=40", "task.test_examples=40"],
    "language": ["task.context=24"],
    "maze": ["task.size=4", "task.train_mazes=100", "task.validation_mazes=30", "task.test_mazes=30"],
    "maze_characters": ["task.size=7", "task.train_mazes=100", "task.validation_mazes=30", "task.test_mazes=30"],
    "sudoku": ["task.train_puzzles=100", "task.validation_puzzles=30", "task.test_puzzles=30"],
    "walk": ["task.nodes=6", "task.relations=2", "task.validation_examples=30", "task.test_examples=30"],
    "parsing": [
        "task.train_sentences=100",
        "task.encoder={name: scratch, word: 16, characters: 16, hidden: 16, layers: 1}",
    ],
    "pretrained": [
        *("task.model=tiny", "task.data=synthetic", "task.context=24", "task.train_blocks=100", "task.test_blocks=30"),
        "task.train=all",
    ],
}
ALLOWED = 1 / 40  # runs with a false alarm


@dataclass(frozen=True)
class Examined:
    """What the doctor found in a sound run, and how long training and examination took."""

    name: str
    findings: tuple[Finding, ...]
    unexamined: dict[str, str]
    trained_in: float
    examined_in: float

    @property
    def alarms(self) -> list[Finding]:
        """The findings that are false alarms."""
        return [finding for finding in self.findings if finding.alarming]


def configurations(
    updates: int, only: list[str] | None = None, seed: int = 0, arms: list[str] | None = None
) -> Iterator[tuple[str, RunConfig]]:
    """Every arm, or each of some, on every task that does not refuse it, tasks in turn."""
    recipe = [f"training.updates={updates}", f"training.validate_every={max(updates // 6, 1)}", f"seed={seed}"]
    recipe += ["training.batch_size=16", f"training.log_every={max(updates // 12, 1)}", "training.preset.lr=0.003"]
    words = {task: [f"task={task}", *SMALLER.get(task, []), *_small(task), *recipe] for task in only or TASKS}
    for own in words.values():
        load([*own, "arm=baseline"])  # which no task refuses: what is wrong here is a key
    for arm in arms or presets("arm"):
        for task, own in words.items():
            with contextlib.suppress(InputError):
                yield f"{task} {arm}", load([*own, f"arm={arm}"])


def _small(task: str) -> list[str]:
    """A pretrained model has a shape of its own."""
    return [word for word in SMALL if not (TASKS[task].task.brings_stack and word.startswith("model."))]


def examined(name: str, config: RunConfig, folder: Path) -> Examined:
    """Train a run in a folder and examine it."""
    began = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):
        directory = train(config, directory=folder, progress=False)
    trained = time.perf_counter()
    diagnosis = diagnose(directory)
    seconds = trained - began, time.perf_counter() - trained
    return Examined(name, tuple(diagnosis.findings), dict(diagnosis.unexamined), *seconds)


def main() -> int:
    """Report every finding; exit code 1 if there are too many false alarms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--updates", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=lambda text: text.split(","), help=f"tasks, of {','.join(TASKS)}")
    options = parser.parse_args()
    every = list(configurations(options.updates, options.only, options.seed))
    chosen = every[:: max(1, len(every) // options.number)][: options.number]
    alarmed, longest = 0, 0.0
    with tempfile.TemporaryDirectory(prefix="sound-runs-") as scratch:
        for number, (name, config) in enumerate(chosen):
            one = examined(name, config, Path(scratch) / str(number))
            alarmed += bool(one.alarms)
            longest = max(longest, one.examined_in)
            print(f"{name}: {len(one.alarms)} alarms, {one.trained_in:.1f} s + {one.examined_in:.1f} s", flush=True)
            for finding in one.findings:
                print(f"    {finding.confidence} {finding.what} ({finding.where}): {finding.evidence}", flush=True)
            for what, why in one.unexamined.items():
                print(f"    not looked at, {what}: {why}", flush=True)
    print(f"{len(chosen)} sound runs, {alarmed} with a false alarm; the longest examination took {longest:.1f} s")
    return int(alarmed > ALLOWED * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
