"""What a user waits for before anything trains: from `headwise train` to the first update, beside torch alone."""

import resource
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 5
TORCH = "import torch"
FIRST_UPDATE = """
import os, sys
from headwise.training.recorder import Recorder
Recorder.after_step = lambda *_, **__: os._exit(0)
from headwise.cli import main
main(["train", "task=sorting", "arm=hrm", "quick=true", "device=cpu", "training.threads=1", "output=" + sys.argv[1]])
"""


def seconds_to_first_update() -> tuple[float, float]:
    """Processor seconds of a whole process, medians of a few in turns: (to the first update, `import torch` alone)."""
    taken: dict[str, list[float]] = {FIRST_UPDATE: [], TORCH: []}
    for _ in range(ROUNDS):
        for program, own in taken.items():
            own.append(_processor_seconds(program))
    return statistics.median(taken[FIRST_UPDATE]), statistics.median(taken[TORCH])


def _processor_seconds(program: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program, folder], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
