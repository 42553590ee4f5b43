"""Scaling: the same comparison at several sizes. Does an arm keep its advantage as both grow?

output/scaling.json, scaling.csv, <size>/ (each the directory of a comparison)
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from headwise.lab.outputs import MEMORY, SCALING
from headwise.lab.scaling.export import write_results
from headwise.lab.scaling.memory import Peak
from headwise.lab.scaling.plan import DEFAULT_SIZES, Scaling, prepare
from headwise.lab.scaling.results import summarise
from headwise.training.config import RunConfig
from headwise.training.machine import device_of


def scale(
    arms: Sequence[tuple[str, RunConfig]],
    sizes: Sequence[str] = DEFAULT_SIZES,
    seeds: int | Sequence[int] = 1,
    parity: Mode = "parameters",
    output: Path | str | None = None,
    jobs: int | None = None,
    second: str | None = None,
    train: Train | None = None,
    launcher: Launcher = LOCAL,
) -> dict[str, Any]:
    """Compare the arms at every size, with what each costs.

    What was trained is kept: called again with the same output, a scaling that was stopped goes on with what is
    missing, in the middle of a run if there is a checkpoint; sizes, seeds and arms may be added the same way. At each
    size the first arm has the shape of `headwise.models.sizes.SIZES` and the others are matched to it. The pages,
    report.html, are not written here but by `headwise scale` and `headwise report`.

    Args:
        arms: label and configuration of each arm, the reference first, as for `compare`; their width, heads, FFN width
            and depth are those of the sizes.
        sizes: names among `SIZES`; default tiny and small.
        seeds: how many, counted from the configurations' own seed, or which; default 1, which allows no verdict.
        parity: what is made equal at each size; see `headwise.lab.comparison.parity.match`.
        output: directory of the scaling; default a new one in `runs/`.
        jobs: processes side by side; default one for each core, or as many as fit into memory.
        second: a metric shown beside the primary one, of the task's own or one that runs in the output have measured;
            default the first other one that the runs measure.
        train: what trains one configuration; default `headwise.training.run.train`.
        launcher: where the runs are trained, as for `compare`; what fits into memory is asked of this machine alone.

    Returns:
        the content of scaling.json.

    Raises:
        InputError: what `compare` refuses, an unknown size or second metric, or a size that cannot fit into this
            machine's memory. Nothing has been trained then.
    """
    began = time.perf_counter()
    planned = prepare(arms, sizes, seeds, parity, output)
    planned.check_output()
    planned.check_second(second)
    launcher.check(planned.base)
    if launcher.here:
        jobs, threads = planned.share(planned.memory(), jobs)
    else:
        jobs, threads = launcher.share(jobs, len(planned.runs), planned.base)
    planned = planned.settled(threads)
    for comparison in planned.sizes.values():
        keep_plan(comparison.output, comparison.arms, planned.data)

    def finish(failures: Mapping[Path, str]) -> None:
        how = circumstances(planned.base, launcher, jobs, threads, time.perf_counter() - began)
        _conclude(planned, failures, how, second)

    try:
        measured = Measured(train or default_train())
        failures = train_runs(planned.runs, measured, launcher, jobs, threads, planned.output)
    except KeyboardInterrupt:  # the sizes that are whole have their results
        finish({})
        raise
    finish(failures)
    return read_mapping(planned.output / SCALING)


def _conclude(planned: Scaling, failures: Mapping[Path, str], how: Mapping[str, Any], second: str | None) -> None:
    """Write the results of the sizes of which every run has ended, and of all sizes that the output holds."""
    for comparison in planned.sizes.values():
        if all(run.finished or run.directory in failures for run in comparison.runs):
            conclude(comparison, failures, how)
    result = summarise(planned.output, second)
    if result["sizes"]:
        known = {f"{split}_examples": len(planned.data.split(split)) for split in ("train", "test")}
        write_results(planned.output, result | known | {"how": dict(how)})


@dataclass(frozen=True)
class Measured:
    """Trains as `train` does, and leaves the most memory that it held in `memory.json` of the run."""

    train: Train

    def __call__(
        self, config: RunConfig, resume: Path | None = None, *, directory: Path | None = None, progress: bool = True
    ) -> Path:
        with Peak(device_of(config.device)) as peak:
            path = self.train(config, resume, directory=directory, progress=progress)
        write_json(path / MEMORY, {"peak_bytes": peak.bytes})
        return path
