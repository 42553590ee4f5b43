"""`headwise ladder`: arms from simple to rich, checked one after the other; the first that fails is explained."""

import dataclasses
import os
from dataclasses import dataclass
from typing import ClassVar

from headwise.commands.result import Result
from headwise.lab.ladder.checks import Limits
from headwise.lab.ladder.climb import ARMS, BUDGET, ladder
from headwise.lab.report.ladder_table import ladder_text
from headwise.lab.report.write import write_report
from headwise.schema import FilePath, run_settings
from headwise.training import configuration
from headwise.training.quoting import key_of


@dataclass(frozen=True)
class Options(Limits):
    """Train arms from simple to rich, name the first that is broken and say why.

    After each short run: gradients against finite differences, order of gates, what moved, loss, active heads, a
    sample. It stops at the first rung that fails; ladder.json holds every check and is the result, report.html shows
    it. The directory of an unfinished ladder, as output=, goes on with what is missing.

    Args:
        arms: the rungs, from simple to rich.
        output: directory of the ladder; null makes a new one in runs/.
        settings: of all runs.
    """

    waits: ClassVar[str] = "preparing the first rung"
    kept: ClassVar[str] = "finished rungs are kept"

    arms: tuple[str, ...] = ARMS
    output: FilePath | None = None
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Climb, or go on where the same command stopped; exit code 1 if a rung fails."""
    given = set(map(key_of, options.settings))
    quick = "quick" in given or os.environ.get("HEADWISE_QUICK") == "1"
    budget = [word for word in BUDGET if not quick and key_of(word) not in given]
    rungs = configuration.load_arms(options.arms, [*budget, *options.settings])
    limits = Limits(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Limits)})
    result = ladder(rungs, limits, options.output)
    write_report(result["directory"])
    return Result(result, ladder_text(result), code=int(not result["passed"]))
