"""`headwise control`: does this lab see routing where it is known to help, and does routing matter on a task?"""

from dataclasses import dataclass
from typing import Any, ClassVar

from headwise.commands.result import Result
from headwise.lab.comparison.launchers import LAUNCHERS, LOCAL
from headwise.lab.comparison.parity import Mode
from headwise.lab.control.arms import choose
from headwise.lab.control.control import control
from headwise.lab.control.plan import WIDTHS
from headwise.lab.report.control_tables import control_text
from headwise.lab.report.write import write_report
from headwise.schema import FilePath, named, run_settings


@dataclass(frozen=True)
class Options:
    """Say whether routing matters, on a task or where it must.

    Without task= it is a check of the lab itself: the instructed walk, at a setting in which routing is known to help
    (docs/control.md). With task= the same arms are trained on that task with its settings. One loop serves all of them:
    without a router, with routers that learn, with controls that choose nothing and, where the task knows them, with
    the right heads opened; then FFN widths with and without a router. The directory of an unfinished control, as
    output=, goes on with what is missing. The result is the content of control.json; the page, report.html, is written
    beside it.

    Args:
        arms: the reference first, which has no router; null is looped, gated, hrm, hrm_token, random, static and
            oracle, of which those that the task refuses are left out. A name alone is put into the loop; one with
            settings of its own, in quotes, is taken as it is.
        seeds: how many, or which; null is 3, without task= 5. Fewer than three allow no verdict.
        widths: FFN widths at which the reference and the first routed arm are trained besides; [] leaves them out.
        steps: refinement steps of the loop; null is as many as the task has hops, or 6.
        parity: what is made equal between the arms.
        output: directory of the control; null makes a new one in runs/.
        jobs: runs side by side; null is one for each core of this machine, 1 on an accelerator.
        launcher: as for headwise compare.
        settings: of all runs.
    """

    waits: ClassVar[str] = "preparing the runs"
    kept: ClassVar[str] = "finished runs are kept"

    arms: tuple[str, ...] | None = None
    seeds: int | tuple[int, ...] | None = None
    widths: tuple[int, ...] = WIDTHS
    steps: int | None = None
    parity: Mode = "parameters"
    output: FilePath | None = None
    jobs: int | None = None
    launcher: Any = named(LAUNCHERS, LOCAL)
    settings: tuple[str, ...] = run_settings()


def run(options: Options) -> Result:
    """Train, or go on where the same command stopped; exit code 1 if a run failed, or if routing is not seen where it
    is known to help."""
    chosen = choose(options.arms, options.settings, options.steps)
    result = control(
        chosen,
        options.seeds,
        options.widths,
        options.parity,
        options.output,
        options.jobs,
        launcher=options.launcher,
    )
    write_report(result["directory"])
    arms = [result["comparison"]["arms"], *(point["arms"] for point in result["curve"])]
    failed = any(arm["failures"] for part in arms for arm in part.values())
    blind = result["known"] and result["outcome"] not in ("matters", "no verdict")
    return Result(result, control_text(result), code=int(failed or blind))
