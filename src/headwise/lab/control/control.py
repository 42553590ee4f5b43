"""The control: does routing help where it is known to, and does it here? All arms on one task, and a curve over FFN
width with and without a router.

output/control.json, arms/ (the directory of a comparison), ffn<width>/<arm>/ (each that of a comparison of one arm)
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headwise.files import read_mapping, write_json
from headwise.lab.comparison.compare import circumstances, conclude, default_train
from headwise.lab.comparison.launchers import LOCAL
from headwise.lab.comparison.launching import Launcher
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.plan import keep_plan
from headwise.lab.comparison.runs import Train
from headwise.lab.comparison.train import train_runs
from headwise.lab.control.arms import Chosen
from headwise.lab.control.plan import WIDTHS, prepare
from headwise.lab.control.results import summarise
from headwise.lab.outputs import CONTROL


def control(
    chosen: Chosen,
    seeds: int | Sequence[int] | None = None,
    widths: Sequence[int] = WIDTHS,
    parity: Mode = "parameters",
    output: Path | str | None = None,
    jobs: int | None = None,
    train: Train | None = None,
    launcher: Launcher = LOCAL,
) -> dict[str, Any]:
    """Train the arms, and each FFN width with and without a router, and say whether routing matters.

    What was trained is kept: called again with the same output, a control that was stopped goes on with what is
    missing; seeds, arms and widths may be added the same way. The pages, report.html, are not written here but by
    `headwise control` and `headwise report`.

    Args:
        chosen: the arms, of `headwise.lab.control.arms.choose`.
        seeds: how many, counted from the configurations' own seed, or which; fewer than three allow no verdict. Default
            those of `chosen`.
        widths: FFN widths of the curve; none leaves it out.
        parity: what is made equal between the arms; the curve's are not matched, as the width is what is varied.
        output: directory of the control; default a new one in `runs/`.
        jobs: runs side by side, as for `compare`.
        train: what trains one configuration; default `headwise.training.run.train`.
        launcher: where the runs are trained, as for `compare`.

    Returns:
        the content of control.json.

    Raises:
        InputError: as `headwise.lab.control.plan.prepare`, or an output that holds runs of other settings. Nothing has
            been trained then.
        Stopped, StorageError, WorkerLostError: as `headwise.lab.comparison.train.train_runs`; finished runs are kept.
    """
    began = time.perf_counter()
    planned = prepare(chosen, seeds, widths, parity, output)
    base = planned.arms.base
    launcher.check(base)
    jobs, threads = launcher.share(jobs, len(planned.runs), base)
    planned = planned.settled(threads)
    for one in planned.comparisons:
        keep_plan(one.output, one.arms, one.data)
    failures = train_runs(planned.runs, train or default_train(), launcher, jobs, threads, planned.output)
    how = circumstances(base, launcher, jobs, threads, time.perf_counter() - began)
    result = summarise(planned, [conclude(one, failures, how) for one in planned.comparisons])
    write_json(planned.output / CONTROL, result | {"how": how})
    return read_mapping(planned.output / CONTROL)
