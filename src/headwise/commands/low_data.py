"""`headwise low-data`: the same comparison with few and with many training examples."""

from dataclasses import dataclass
from typing import Any, ClassVar

from headwise.commands.result import Result
from headwise.lab.comparison.launchers import LAUNCHERS, LOCAL
from headwise.lab.comparison.parity import Mode
from headwise.lab.ood.low_data import DEFAULT, NOT_TRAINED, dry_run, low_data, prepare
from headwise.lab.report.ood_tables import low_data_plan_text, ood_text
from headwise.lab.report.write import write_report
from headwise.schema import FilePath, named, run_settings
from headwise.training import configuration


@dataclass(frozen=True)
class Options:
    """Compare arms with few and with many training examples: what is left of an advantage where data are scarce.

    Every number of examples is a comparison of its own, with as many updates and the same test examples. The directory
    of an unfinished one, as output=, goes on with what is missing; numbers, seeds and arms may be added to it. The
    result is the content of ood.json, as of headwise ood, with one axis; the pages, report.html, are written beside it
    and for each number.

    Args:
        examples: numbers of training examples; what is kept is told against the most of them.
        arms: as for headwise compare.
        seeds: how many, or which; fewer than three allow no verdict.
        parity: what is made equal between the arms.
        output: directory of the results; null makes a new one in runs/.
        jobs: runs side by side; null is one for each core of this machine, 1 on an accelerator.
        launcher: as for headwise compare.
        dry_run: print how many runs there are and how long they take, and train nothing.
        settings: of all runs.
    """

    waits: ClassVar[str] = "preparing the runs"
    kept: ClassVar[str] = "finished runs are kept"

    arms: tuple[str, ...]
    examples: tuple[int, ...] = DEFAULT
    seeds: int | tuple[int, ...] = 3
    parity: Mode = "parameters"
    output: FilePath | None = None
    jobs: int | None = None
    launcher: Any = named(LAUNCHERS, LOCAL)
    dry_run: bool = False
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Train, or go on where the same command stopped; with `dry_run` only plan. Exit code 1 if a run failed."""
    arms = configuration.load_arms(options.arms, options.settings)
    what: dict[str, Any] = {key: getattr(options, key) for key in ("examples", "seeds", "parity", "output")}
    if options.dry_run:
        plan = dry_run(prepare(arms, **what), options.jobs)
        return Result(plan, low_data_plan_text(plan))
    result = low_data(arms, **what, jobs=options.jobs, launcher=options.launcher)
    write_report(result["directory"])
    reasons = (
        why for axis in result["axes"].values() for point in axis["points"] for why in point["left_out"].values()
    )
    failed = any(why != NOT_TRAINED for why in reasons)
    return Result(result, ood_text(result), code=int(failed))
