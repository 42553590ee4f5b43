"""`headwise compare`: several arms, fairly, with an honest verdict."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from headwise.commands.result import Result
from headwise.errors import InputError
from headwise.lab.comparison.automatic import Limits, compare_until_decided
from headwise.lab.comparison.compare import compare
from headwise.lab.comparison.launchers import LAUNCHERS, LOCAL
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.rules import Rule
from headwise.lab.report.tables import comparison_text
from headwise.lab.report.write import write_report
from headwise.schema import FilePath, named, run_settings
from headwise.training import configuration


@dataclass(frozen=True)
class Options:
    """Train several arms fairly and say which differ.

    Arms share data, seeds, updates and settings, and get the size of the first. The directory of an unfinished
    comparison, as output=, goes on with what is missing. The result is the content of comparison.json; the page,
    report.html, is written beside it.

    Args:
        arms: names of arms, the reference first; one may have settings of its own, in quotes, and then a name, too:
            'arms=[baseline,"hrm:refinement.steps=12","slow=hrm:controller.period=5"]'.
        seeds: how many, or which: seeds=[0,1,2]. Seed k gives every arm the same data. auto adds seeds, from three on,
            until every pair is decided; with effect= and max_hours= or max_seeds=.
        parity: what is made equal between the arms.
        effect: the smallest difference of interest, in units of the metric: with it, arms are also tested for being
            equivalent, that is for differing by less.
        max_hours: with seeds=auto, hours that training may take in all.
        max_seeds: with seeds=auto, seeds that there may be.
        output: directory of the comparison; null makes a new one in runs/.
        jobs: runs side by side; null is one for each core of this machine, 1 on an accelerator; elsewhere as many as
            there is room for.
        launcher: where the runs are trained: processes of this machine, or a cluster, with settings of its own:
            'launcher={name: slurm, partition: gpu, minutes: 90}' (headwise help launcher, docs/scaling.md).
        settings: of all runs.
    """

    waits: ClassVar[str] = "preparing the runs"
    kept: ClassVar[str] = "finished runs are kept"

    arms: tuple[str, ...]
    seeds: int | tuple[int, ...] | Literal["auto"] = 3
    parity: Mode = "parameters"
    effect: float | None = None
    max_hours: float | None = None
    max_seeds: int | None = None
    output: FilePath | None = None
    jobs: int | None = None
    launcher: Any = named(LAUNCHERS, LOCAL)
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Train, or go on where the same command stopped, and compare; exit code 1 if a run failed."""
    shared = {key: getattr(options, key) for key in ("parity", "output", "jobs", "launcher")}
    rule = Rule(options.effect)
    if options.seeds == "auto":
        limits = Limits(options.effect, options.max_hours, options.max_seeds)
        result = compare_until_decided(configuration.load_arms(options.arms, options.settings), limits, **shared)
    else:
        for key in ("max_hours", "max_seeds"):
            if (value := getattr(options, key)) is not None:
                raise InputError(f"{key}={value}: limits seeds=auto; with seeds={options.seeds} leave it out")
        arms = configuration.load_arms(options.arms, options.settings)
        result = compare(arms, options.seeds, rule=rule, **shared)
    write_report(result["directory"])
    failed = any(arm["failures"] for arm in result["arms"].values())
    return Result(result, comparison_text(result), code=int(failed))
