"""The low-data regime: the same comparison with few and with many training examples. Unlike the other axes it trains.

The number of updates is the same throughout, so that few examples are seen the more often; the best weights on the
validation examples count, as in every comparison.

output/ood.json, ood.csv, train<number>/ (each the directory of a comparison)
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headwise.errors import InputError
from headwise.files import read_mapping, write_json, write_text
from headwise.lab.comparison.compare import circumstances, conclude, default_train
from headwise.lab.comparison.launchers import LOCAL
from headwise.lab.comparison.launching import Launcher, share_cores
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.plan import Plan, keep_plan, new_directory, plan
from headwise.lab.comparison.runs import PlannedRun, Train
from headwise.lab.comparison.train import train_runs
from headwise.lab.ood.axes import Axis
from headwise.lab.ood.export import table
from headwise.lab.ood.measure import Measured
from headwise.lab.ood.results import Judged, Point, summarise
from headwise.lab.ood.runs import Runs, Trained
from headwise.lab.outputs import OOD, OOD_TABLE, refuse_other_work
from headwise.lab.records import number, read_run
from headwise.lab.scaling.budget import seconds
from headwise.training.config import RunConfig

DEFAULT = (500, 1000, 2000, 5000, 10000)
AXIS, FOLDER = "train_examples", "train"
NOT_TRAINED = "not trained"


@dataclass(frozen=True)
class LowData:
    """A comparison for each number of training examples.

    Attributes:
        wanted: those that are trained; the others were before.
        comparisons: by number, the fewest first.
    """

    output: Path
    wanted: tuple[int, ...]
    comparisons: Mapping[int, Plan]

    @property
    def most(self) -> Plan:
        return self.comparisons[max(self.comparisons)]

    @property
    def runs(self) -> list[PlannedRun]:
        """What is to be trained, the fewest examples first."""
        return [replace(run, size=f"{n} examples,") for n in self.wanted for run in self.comparisons[n].runs]

    def settled(self, threads: int) -> "LowData":
        """With one precision for all runs of a comparison."""
        return replace(self, comparisons={n: one.settled(threads) for n, one in self.comparisons.items()})


def low_data(
    arms: Sequence[tuple[str, RunConfig]],
    examples: Sequence[int] = DEFAULT,
    seeds: int | Sequence[int] = 3,
    parity: Mode = "parameters",
    output: Path | str | None = None,
    jobs: int | None = None,
    train: Train | None = None,
    launcher: Launcher = LOCAL,
) -> dict[str, Any]:
    """Compare the arms at each number of training examples, on the same test examples for each seed.

    What was trained is kept: called again with the same output, it goes on with what is missing; numbers, seeds and
    arms may be added. The pages, report.html, are not written here but by `headwise low-data` and `headwise report`.

    Args:
        arms: label and configuration of each arm, the reference first, as for `compare`.
        examples: numbers of training examples; what an arm keeps is told against the most of them.
        seeds: how many, or which; fewer than three allow no verdict.
        parity: what is made equal between the arms, as for `compare`.
        output: directory of the results; default a new one in `runs/`.
        jobs: runs side by side, as for `compare`.
        train: what trains one configuration; default `headwise.training.run.train`.
        launcher: where the runs are trained, as for `compare`.

    Returns:
        the content of ood.json, whose one axis is the number of examples.

    Raises:
        InputError: what `compare` refuses; a task that does not say how many examples it trains on, or numbers that it
            refuses; an output that holds other work. Nothing has been trained then.
        Stopped, StorageError, WorkerLostError: as `headwise.lab.comparison.train.train_runs`; finished runs are kept.
    """
    began = time.perf_counter()
    planned = prepare(arms, examples, seeds, parity, output)
    base = planned.most.base
    launcher.check(base)
    jobs, threads = launcher.share(jobs, len(planned.runs), base)
    planned = planned.settled(threads)
    for one in planned.comparisons.values():
        keep_plan(one.output, one.arms, one.data)
    failures = train_runs(planned.runs, train or default_train(), launcher, jobs, threads, planned.output)
    how = circumstances(base, launcher, jobs, threads, time.perf_counter() - began)
    for number_ in planned.wanted:
        conclude(planned.comparisons[number_], failures, how)
    result = _summary(planned, failures) | {"settings": {}, "directory": str(planned.output), "how": how}
    write_json(planned.output / OOD, result)
    write_text(planned.output / OOD_TABLE, table(result))
    return read_mapping(planned.output / OOD)


def prepare(
    arms: Sequence[tuple[str, RunConfig]],
    examples: Sequence[int] = DEFAULT,
    seeds: int | Sequence[int] = 3,
    parity: Mode = "parameters",
    output: Path | str | None = None,
) -> LowData:
    """What `low_data` would train, refused as it would be; writes nothing."""
    if not arms:
        raise InputError("arms=[]: name at least one arm")
    counts = tuple(sorted(set(examples)))
    if len(counts) < 2 or len(counts) < len(examples):
        raise InputError(f"examples=[{','.join(map(str, examples))}]: choose two different numbers or more")
    base = arms[0][1]
    key = base.entry.task.training_size
    if key is None:
        raise InputError(f"task={base.entry.name}: has no setting that says how many examples are trained on")
    path = Path(output) if output else new_directory(base, "low-data")
    _check_output(path)
    before = (int(found[1]) for one in path.glob(f"{FOLDER}*") if (found := re.fullmatch(rf"{FOLDER}(\d+)", one.name)))
    comparisons = {}
    for count in sorted({*counts, *before}):
        sized = [(label, _with(config, key, count)) for label, config in arms]
        comparisons[count] = plan(sized, seeds, parity, path / f"{FOLDER}{count}")
    return LowData(path, counts, comparisons)


def dry_run(planned: LowData, jobs: int | None = None) -> dict[str, Any]:
    """How many runs are to be trained, and how long that takes about; trains nothing and writes nothing.

    Returns:
        examples.NUMBER.LABEL.{runs, finished}, seconds of a run by label, seconds in all with so many jobs.
    """
    most = planned.most
    todo = [run for run in planned.runs if not run.finished]
    jobs, threads = share_cores(jobs, max(len(todo), 1), most.base)
    each = {label: seconds(config, most.data, threads).run for label, config in most.arms.items()}
    return {
        "task": most.base.entry.name,
        "arms": list(most.arms),
        "seeds": list(most.seeds),
        "updates": most.base.training.updates,
        "examples": {
            str(count): {
                label: {
                    "runs": len(most.seeds),
                    "finished": sum(run.finished for run in planned.comparisons[count].runs if run.label == label),
                }
                for label in most.arms
            }
            for count in planned.wanted
        },
        "seconds_of_a_run": each,
        "seconds": sum(each[run.label] for run in todo) / jobs,
        "jobs": jobs,
    }


def _with(config: RunConfig, key: str, count: int) -> RunConfig:
    try:
        if count < 1:  # where 0 means examples without end
            raise ValueError("choose 1 or more")
        return replace(config, task=replace(config.task, **{key: count}))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"examples: {count}: {error}") from None


def _check_output(path: Path) -> None:
    refuse_other_work(path, ["an out-of-distribution test"])
    if (path / OOD).is_file() and not any(path.glob(f"{FOLDER}*")):
        raise InputError(f"output={path}: holds an out-of-distribution test ({OOD}); choose another output")


def _summary(planned: LowData, failures: Mapping[Path, str]) -> dict[str, Any]:
    """The content of ood.json of all numbers that the output holds."""
    most = planned.most
    trained = tuple(Trained(run.label, run.seed, run.directory, run.config, {}) for run in most.runs)
    runs = Runs(tuple(sorted(trained, key=lambda run: list(most.arms).index(run.label))), ())
    judged = {count: Judged(_point(count, one.runs, failures), runs) for count, one in planned.comparisons.items()}
    neutral = max(judged)
    axis = Axis(AXIS, "examples trained on, with as many updates", neutral, tuple(n for n in judged if n != neutral))
    points = {AXIS: [one for count, one in judged.items() if count != neutral]}
    found = summarise(runs, [replace(axis, of="training")], judged[neutral], points, [])
    return found | {"comparisons": [f"{FOLDER}{count}" for count in judged]}


def _point(count: int, planned: Sequence[PlannedRun], failures: Mapping[Path, str]) -> Point:
    measured, left_out = dict[tuple[str, int], Measured](), dict[str, str]()
    for one in planned:
        run = read_run(one.directory)
        if not run.summary or run.test_values is None:
            left_out[f"{one.label}, seed {one.seed}"] = failures.get(one.directory, NOT_TRAINED)
            continue
        levels = {name: number(run.summary.get(name)) for name in ("value", "floor", "ceiling")}
        own = str(run.summary.get("test_fingerprint", f"seed {one.seed}"))
        measured[one.label, one.seed] = Measured(**levels, fingerprint=own, values=run.test_values)
    return Point(count, measured, left_out)
