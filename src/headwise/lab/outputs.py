"""What an output directory holds. Each is the directory of one work, as it has one page."""

from collections.abc import Sequence
from pathlib import Path

from headwise.errors import InputError
from headwise.lab.records import COMPARISON, CONFIG, METRICS, SCALING, SUMMARY
from headwise.models.sizes import SIZES

PLAN = "plan.json"
HOLDS = {
    "a comparison": (COMPARISON,),
    "runs of a comparison or a ladder": (PLAN,),
    "a scaling": (SCALING, *(f"{size}/{PLAN}" for size in SIZES)),
    "a run": (SUMMARY, METRICS, CONFIG),
}
"""The files that say so."""


def refuse(output: Path, kinds: Sequence[str]) -> None:
    """Refuse an output that holds work of another kind.

    Args:
        kinds: that it must not hold, among those of `HOLDS`.

    Raises:
        InputError: with what it holds and the file that says so.
    """
    for kind in kinds:
        for name in HOLDS[kind]:
            if (output / name).is_file():
                raise InputError(f"output={output}: holds {kind} ({name}); choose another output")
