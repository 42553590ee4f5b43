"""`headwise ladder`: arms from simple to rich, checked one after the other; the first that fails is explained."""

import os
import shlex
from typing import Any

from headwise.commands.result import Result
from headwise.errors import InputError

# Keys of the ladder itself; the rest goes to the runs
OWN = ("arms", "output", "tolerance", "gradient_norm", "growth")


def run(words: list[str]) -> Result:
    """Climb, or go on where the same command stopped; the result is the content of ladder.json, exit code 1 if a rung
    fails."""
    from headwise.lab.ladder.checks import Limits
    from headwise.lab.ladder.climb import ARMS, BUDGET, ladder
    from headwise.lab.report.ladder_table import ladder_text
    from headwise.schema import build
    from headwise.training import configuration

    own, overrides = configuration.take(words, OWN)
    arms = _arms(own.pop("arms", list(ARMS)))
    output = own.pop("output", None)
    limits = build(Limits, own, "ladder")
    given = {word.partition("=")[0].strip() for word in overrides}
    quick = "quick" in given or os.environ.get("HEADWISE_QUICK") == "1"
    budget = [word for word in BUDGET if not quick and word.partition("=")[0] not in given]
    rungs = configuration.load_arms(arms, [*budget, *overrides])
    try:
        result = ladder(rungs, limits, output)
    except KeyboardInterrupt:
        again = shlex.join(["headwise", "ladder", *words])
        raise KeyboardInterrupt(f"stopped; finished rungs are kept, continue with: {again}") from None
    return Result(result, ladder_text(result), code=int(not result["passed"]))


def _arms(arms: Any) -> list[str]:
    if not isinstance(arms, list) or not all(isinstance(label, str) for label in arms):
        raise InputError(f"arms={arms}: expected a list of arms, such as 'arms=[baseline,moh,adaptive]'")
    return arms
