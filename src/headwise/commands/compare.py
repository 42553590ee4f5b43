"""`headwise compare`: several arms, fairly, with an honest verdict."""

import shlex
from collections.abc import Mapping
from typing import Any

from headwise.commands.result import Result
from headwise.errors import InputError

# Keys of the comparison itself; the rest goes to the runs
OWN = ("arms", "seeds", "parity", "output", "jobs")


def run(words: list[str]) -> Result:
    """Train, or go on where the same command stopped, and compare; the result is the content of comparison.json.

    The page, report.html, is written beside it.
    """
    from headwise.lab.comparison.compare import compare
    from headwise.lab.report.tables import comparison_text
    from headwise.lab.report.write import write_report
    from headwise.training import configuration

    own, overrides = configuration.take(words, OWN)
    check(own)
    arms = configuration.load_arms(own.pop("arms"), overrides)
    try:
        result = compare(arms, **own)
    except KeyboardInterrupt:
        again = shlex.join(["headwise", "compare", *words])
        raise KeyboardInterrupt(f"stopped; finished runs are kept, continue with: {again}") from None
    write_report(result["directory"])
    failed = any(arm["failures"] for arm in result["arms"].values())
    return Result(result, comparison_text(result), code=int(failed))


def check(own: Mapping[str, Any]) -> None:
    """Refuse arms, seeds and jobs of the wrong kind.

    Raises:
        InputError: with what is expected.
    """
    arms, seeds, jobs = own.get("arms"), own.get("seeds", 3), own.get("jobs", 1)
    if not isinstance(arms, list) or not all(isinstance(label, str) for label in arms):
        raise InputError(f"arms={arms}: expected a list of arms, such as 'arms=[baseline,looped,hrm]'")
    if not all(_whole(seed) for seed in (seeds if isinstance(seeds, list) else [seeds])):
        raise InputError(f"seeds={seeds}: expected how many (1 or more), or a list of whole numbers such as [0,1,2]")
    if not _whole(jobs):
        raise InputError(f"jobs={jobs}: expected a whole number, 1 or more")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
