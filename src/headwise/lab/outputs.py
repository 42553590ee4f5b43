"""What lies in the directory of work on several runs: each holds one work, as it has one page."""

import re
from collections.abc import Sequence
from pathlib import Path

from headwise.errors import InputError
from headwise.models.sizes import SIZES
from headwise.training.files import CONFIG, METRICS, SUMMARY

PLAN = "plan.json"
COMPARISON, COMPARISON_TABLE, PAIR_TABLE = "comparison.json", "comparison.csv", "pairs.csv"
SCALING, SCALING_TABLE = "scaling.json", "scaling.csv"
LADDER = "ladder.json"
VERDICT, CLAIMS = "verdict.json", "claims.json"
CONTROL, CONTROL_ARMS = "control.json", "arms"
OOD, OOD_TABLE, MEASURED = "ood.json", "ood.csv", "measured"
HEADS = "heads.json"
SWEEP, SWEEP_TABLE = "sweep.json", "sweep.csv"
CHOICES = "choices.json"
THINKING = "thinking.json"
SEARCH, CONFIRMATION = "search", "confirmation"
REPORT = "report.html"
RUNS = "runs"
# Beside what training leaves in the directory of a run
MEMORY = "memory.json"

IDENTIFYING = {
    "a comparison": (COMPARISON,),
    "runs of a comparison or a ladder": (PLAN,),
    "a scaling": (SCALING, *(f"{size}/{PLAN}" for size in SIZES)),
    "a control": (CONTROL, f"{CONTROL_ARMS}/{PLAN}"),
    "an out-of-distribution test": (OOD,),  # or one with few training examples, whose comparisons lie below
    "a measurement of heads": (HEADS,),
    "a sweep": (SWEEP, f"{SEARCH}/{PLAN}"),
    "a study of choices of heads": (CHOICES,),
    "a study of thinking longer": (THINKING,),
    "a run": (SUMMARY, METRICS, CONFIG),
}
"""The files by which a directory is known to hold a kind of work."""


def run_directory(output: Path, label: str, seed: int) -> Path:
    """The directory of the run of an arm with a seed."""
    return arm_directory(output, label) / f"seed{seed}"


def arm_directory(output: Path, label: str) -> Path:
    """The directory that holds all runs of an arm."""
    return output / RUNS / directory_name(label)


def directory_name(label: str) -> str:
    """A label as the name of a directory: what file systems refuse becomes a hyphen."""
    return re.sub(r"[^\w.,=+-]+", "-", label).strip(".-") or "arm"


def refuse_other_work(output: Path, own: Sequence[str]) -> None:
    """Refuse an output that holds work of another kind.

    Args:
        own: kinds among those of `IDENTIFYING` that it may hold.

    Raises:
        InputError: with what it holds and the file that says so.
    """
    for kind, names in IDENTIFYING.items():
        for name in names:
            if kind not in own and (output / name).is_file():
                raise InputError(f"output={output}: holds {kind} ({name}); choose another output")
