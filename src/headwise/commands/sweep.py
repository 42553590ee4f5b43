"""`headwise sweep`: several values of some settings, against what the command line says without them."""

from dataclasses import dataclass
from typing import Any, ClassVar

from headwise.commands.result import Result
from headwise.lab.comparison.launchers import LAUNCHERS, LOCAL
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.rules import Rule
from headwise.lab.report.sweep_tables import plan_text, sweep_text
from headwise.lab.report.write import write_report
from headwise.lab.sweep.plan import Sampler, choose, dry_run, prepare
from headwise.lab.sweep.space import MOST_RUNS, read_space
from headwise.lab.sweep.sweep import carry_out_sweep, search_and_sweep
from headwise.schema import FilePath, named, run_settings


@dataclass(frozen=True)
class Options:
    """Try several values of some settings and say which is best.

    Keys with several values are swept, in Hydra's grammar: 'arm.controller.period=2,3,4', choice(...), range(1,9,2),
    'arm=glob(hrm*)', and interval(0,1) for random search. What the words say without them is the base, with which every
    setting is compared. The best on validation is trained again on fresh seeds before it is called best. The directory
    of an unfinished sweep, as output=, goes on with what is missing; seeds and values may be added to it. The result is
    the content of sweep.json; the page, report.html, is written beside it.

    Args:
        sweep: a preset, which what is typed refines: steps, period, top_k, controller_rate, entropy, pace.
        sampler: grid takes every combination, random draws number= of them with the seed of the runs, optuna searches
            and gives up early what does badly on validation (needs headwise[optuna]).
        number: settings that random and optuna try.
        seeds: how many, or which: seeds=[0,1,2]. Fewer than three allow no verdict.
        confirm: fresh seeds for the best setting and the base; null is as many as seeds, 0 leaves it out.
        parity: what is made equal to the base; none leaves each setting as it is.
        effect: the smallest difference of interest, as for headwise compare.
        max_runs: runs that there may be.
        output: directory of the sweep; null makes a new one in runs/.
        jobs: runs side by side; null is one for each core of this machine, 1 on an accelerator.
        launcher: as for headwise compare.
        dry_run: print the settings, their number of runs and the time, and train nothing.
        settings: of all runs, and those that are swept.
    """

    waits: ClassVar[str] = "preparing the runs"
    kept: ClassVar[str] = "finished runs are kept"

    sweep: str | None = None
    sampler: Sampler = "grid"
    number: int | None = None
    seeds: int | tuple[int, ...] = 3
    confirm: int | None = None
    parity: Mode = "none"
    effect: float | None = None
    max_runs: int = MOST_RUNS
    output: FilePath | None = None
    jobs: int | None = None
    launcher: Any = named(LAUNCHERS, LOCAL)
    dry_run: bool = False
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Train, or go on where the same command stopped; with `dry_run` only plan. Exit code 1 if a run failed."""
    rule = Rule(options.effect)
    space = read_space(options.settings, options.sweep, options.max_runs)
    seeds = options.seeds if isinstance(options.seeds, int) else len(options.seeds)
    confirm = seeds if options.confirm is None else options.confirm
    chosen = choose(space, options.sampler, options.number, seeds, confirm, options.max_runs)
    planned = prepare(space, chosen, options.seeds, options.confirm, options.parity, options.output)
    if options.dry_run:
        plan = dry_run(planned, options.jobs)
        return Result(plan, plan_text(plan))
    if options.sampler == "optuna":
        result = search_and_sweep(
            space,
            len(chosen),
            options.seeds,
            options.confirm,
            options.parity,
            options.output,
            options.jobs,
            launcher=options.launcher,
            rule=rule,
        )
    else:
        result = carry_out_sweep(planned, options.jobs, launcher=options.launcher, rule=rule)
    write_report(result["directory"])
    arms = [result["arms"], *([result["confirmation"]["arms"]] if result["confirmation"] else [])]
    failed = any(arm["failures"] for part in arms for arm in part.values())
    return Result(result, sweep_text(result), code=int(failed))
