"""`headwise compare`: several arms, fairly, with an honest verdict."""

from dataclasses import dataclass
from typing import Any, ClassVar

from headwise.commands.result import Result
from headwise.lab.comparison.compare import compare
from headwise.lab.comparison.launchers import LAUNCHERS, LOCAL
from headwise.lab.comparison.parity import Mode
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
        arms: names of arms, the reference first; one may have settings of its own, in quotes:
            'arms=[baseline,"hrm:refinement.steps=12"]'.
        seeds: how many, or which: seeds=[0,1,2]. Seed k gives every arm the same data.
        parity: what is made equal between the arms.
        effect: the smallest difference of interest, in units of the metric: with it, arms are also tested for being
            equivalent, that is for differing by less.
        output: directory of the comparison; null makes a new one in runs/.
        jobs: runs side by side; null is one for each core of this machine, 1 on an accelerator; elsewhere as many as
            there is room for.
        launcher: where the runs are trained: processes of this machine, or a cluster, with settings of its own:
            'launcher={name: slurm, partition: gpu, minutes: 90}' (headwise help launcher, docs/scaling.md).
        settings: of all runs.
    """

    kept: ClassVar[str] = "finished runs are kept"

    arms: tuple[str, ...]
    seeds: int | tuple[int, ...] = 3
    parity: Mode = "parameters"
    effect: float | None = None
    output: FilePath | None = None
    jobs: int | None = None
    launcher: Any = named(LAUNCHERS, LOCAL)
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Train, or go on where the same command stopped, and compare; exit code 1 if a run failed."""
    arms = configuration.load_arms(options.arms, options.settings)
    keys = ("seeds", "parity", "output", "jobs", "launcher", "effect")
    result = compare(arms, **{key: getattr(options, key) for key in keys})
    write_report(result["directory"])
    failed = any(arm["failures"] for arm in result["arms"].values())
    return Result(result, comparison_text(result), code=int(failed))
