"""The plan of a scaling: a comparison for each size, what each run takes, and whether the machine has it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from headwise.errors import InputError
from headwise.lab.comparison.launching import share_cores
from headwise.lab.comparison.parity import Mode
from headwise.lab.comparison.plan import Plan, length_of, new_directory, plan
from headwise.lab.comparison.runs import PlannedRun
from headwise.lab.formatting import format_magnitude
from headwise.lab.outputs import PLAN, RUNS, directory_name, refuse_other_work
from headwise.lab.records import found_comparison, read_plan, read_run
from headwise.lab.scaling.budget import WITHIN, memory, seconds
from headwise.models.sizes import SIZES
from headwise.schema import to_plain
from headwise.tasks.base import TaskData
from headwise.training.building import data_of
from headwise.training.config import RunConfig, differences
from headwise.training.files import SUMMARY
from headwise.training.machine import device_of
from headwise.training.memory import Memory, capacity, process_memory, weights_memory

log = logging.getLogger("headwise")

DEFAULT_ARMS = ("baseline", "hrm")
DEFAULT_SIZES = ("tiny", "small")
SHAPE = ("width", "heads", "ffn", "depth")
HOW = (
    "Memory from passes of one and two blocks of each arm's width with two and three examples, extended linearly; time "
    "from timed updates of one block, extended by FLOPs, for a machine with nothing else to do."
)
Key = tuple[str, str]
"""A size and an arm's label."""


@dataclass(frozen=True)
class Scaling:
    """Everything that is to be trained, by size.

    Attributes:
        base: the first arm's configuration as it was given.
        data: of the task; all runs with the same seed share them.
    """

    base: RunConfig
    data: TaskData
    output: Path
    sizes: dict[str, Plan]

    @property
    def device(self) -> str:
        """As it is on this machine."""
        return device_of(self.base.device)

    @property
    def runs(self) -> list[PlannedRun]:
        """All runs, size by size in the order in which the sizes were given."""
        return [replace(run, size=size) for size, one in self.sizes.items() for run in one.runs]

    @property
    def configs(self) -> dict[Key, RunConfig]:
        return {(size, label): config for size, one in self.sizes.items() for label, config in one.arms.items()}

    @property
    def parity(self) -> Mode:
        return next(iter(self.sizes.values())).sized.mode

    def settled(self, threads: int) -> "Scaling":
        """The scaling with one precision for all runs of a size."""
        return replace(self, sizes={size: one.settled(threads) for size, one in self.sizes.items()})

    def unfinished(self, key: Key) -> list[PlannedRun]:
        """The runs of an arm at a size that are not finished."""
        return [run for run in self.runs if (run.size, run.label) == key and not run.finished]

    def memory(self, finished: bool = False) -> dict[Key, Memory]:
        """What each arm takes at each size; one of which every run is finished, only if wanted.

        Raises:
            InputError: more than this machine has, for runs that are not finished.
        """
        process, room = process_memory(self.device), capacity(self.device)
        configs = {key: config for key, config in self.configs.items() if finished or self.unfinished(key)}
        for key, config in configs.items():  # what needs no measuring first
            self._refuse(key, weights_memory(config, self.data.facts, process), room)
        needs = {key: memory(config, self.data, process) for key, config in configs.items()}
        for (size, label), need in needs.items():
            self._refuse((size, label), need, room)
            if need.peak <= room < WITHIN * need.peak and self.unfinished((size, label)):
                log.warning(
                    "sizes: %s may not fit: arm %s takes about %s of %s, but a process up to %g times its estimate",
                    *(size, label, _bytes(need.peak), _bytes(room), WITHIN),
                )
        return needs

    def _refuse(self, key: Key, need: Memory, room: int) -> None:
        if need.peak <= room or not self.unfinished(key):
            return
        (size, label), batch = key, self.configs[key].training.batch_size
        kept = need.parameters + need.gradients + need.optimizer
        most, what, remedy = max(
            (need.activations, f"a batch of {batch}", "a lower training.batch_size, arm.refinement.gradient=last or "),
            (need.evaluation, "scoring a batch", "a lower training.evaluation_batch_size or "),
            (need.checkpoint, "reading a checkpoint back", ""),
        )
        count = format_magnitude(self._parameters(key))
        raise InputError(
            f"sizes: {size} does not fit: arm {label} ({count} parameters) takes about {_bytes(need.peak)}, this "
            f"machine has {_bytes(room)} ({_bytes(kept)} for weights, gradients and optimiser state, {_bytes(most)} "
            f"for {what}); choose {remedy}a smaller size"
        )

    def _parameters(self, key: Key) -> int:
        size, label = key
        return next(one.size.parameters for one in self.sizes[size].sized.arms if one.label == label)

    def share(self, needs: Mapping[Key, Memory], jobs: int | None) -> tuple[int, int]:
        """Processes, and threads for each: as many as asked for, or as there are cores and fit safely side by side.

        Raises:
            InputError: so many as were asked for cannot fit together.
        """
        runs = [run for run in self.runs if not run.finished]
        wanted, _ = share_cores(jobs, max(len(runs), 1), self.base)
        largest = sorted((needs[run.size, run.label].peak for run in runs), reverse=True)
        room = capacity(self.device)
        fitting, margin = wanted, WITHIN if jobs is None else 1.0
        while fitting > 1 and margin * sum(largest[:fitting]) > room:
            fitting -= 1
        if jobs is not None and fitting < wanted:
            together = _bytes(sum(largest[:wanted]))
            raise InputError(
                f"jobs={jobs}: they take {together} together, this machine has {_bytes(room)}; choose {fitting}"
            )
        return share_cores(fitting, max(len(runs), 1), self.base)

    def check_output(self) -> None:
        """Refuse an output that is no scaling's, or whose sizes differ from these in more than their shape.

        That is, in the task or the recipe, in how or to what arms were matched, or in what an arm's label stands for.

        Raises:
            InputError: names the file, or the size, the key and both values.
        """
        refuse_other_work(self.output, ["a scaling"])
        base, arms = self.base.to_plain(), next(iter(self.sizes.values())).arms
        own = {directory_name(label): arm_settings(config.to_plain()) for label, config in arms.items()}
        for file in sorted(self.output.glob(f"*/{PLAN}")):
            size, found = file.parent.name, found_comparison(file.parent)
            if found:
                matched = {"parity": found["parity"]["mode"], "first arm": next(iter(found["arms"]))}
                self._keep(size, matched, {"parity": self.parity, "first arm": next(iter(arms))})
            for label, plain in read_plan(file).items():
                held = shared_settings(plain)
                if base["training"]["precision"] == "auto":  # settled for each size when it was begun
                    held["training"]["precision"] = "auto"
                self._keep(size, held, shared_settings(base))
                if label in own:
                    self._keep(f"{label} at {size}", arm_settings(plain), own[label])

    def _keep(self, what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        for key, before, after in differences(old, new):
            raise InputError(
                f"output={self.output}: holds {what} with {key}={before}, now {after}; choose another output"
            )

    def check_second(self, second: str | None) -> None:
        """Refuse a metric beside the primary one that no run would measure.

        Raises:
            InputError: with those there are.
        """
        if second is None:
            return
        primary = self.base.entry.task.metric
        others = [name for name in self.metrics() if name != primary]
        if second not in others:
            reason = "the primary metric, which is shown anyway" if second == primary else "not measured"
            raise InputError(f"second={second}: {reason}; choose one of {', '.join(others) or 'none'}")

    def metrics(self) -> list[str]:
        """Names of the metrics: the task's, from a test example read out untrained, then others that runs measured."""
        batch = self.data.split("test").batch(torch.arange(1))
        with torch.no_grad():
            task = self.base.entry.task(self.base.task, self.data.facts, self.base.model.width).eval()
            measured = task.metrics(task.read_out(task.embed(batch)[0], batch), batch)
        runs = [read_run(file.parent) for file in sorted(self.output.glob(f"*/{RUNS}/*/*/{SUMMARY}"))]
        return list(dict.fromkeys([*measured, *(name for run in runs for name in run.summary.get("metrics") or {})]))


def shared_settings(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What all runs of a scaling have in common; device and seed may change."""
    training = {key: value for key, value in plain["training"].items() if key != "preset"}
    return {"task": plain["task"], "training": training, "quick": plain["quick"]}


def arm_settings(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What an arm's label stands for at every size."""
    model = {key: value for key, value in plain["model"].items() if key not in SHAPE}
    return {"arm": plain["arm"], "model": model, "training": {"preset": plain["training"]["preset"]}}


def prepare(
    arms: Sequence[tuple[str, RunConfig]],
    sizes: Sequence[str],
    seeds: int | Sequence[int],
    parity: Mode,
    output: Path | str | None,
) -> Scaling:
    """Find every arm's shape at every size; builds nothing and writes nothing.

    Raises:
        InputError: an unknown size, or whatever a comparison at one of them refuses.
    """
    check_sizes(sizes)
    if not arms:
        raise InputError("arms=[]: name at least one arm")
    base = arms[0][1]
    path = Path(output) if output else new_directory(base, "scale")
    if path.exists() and not path.is_dir():
        raise InputError(f"output={path}: a file; choose a directory")
    data = data_of(base)
    length = length_of(base, data)
    plans = {}
    for size in sizes:
        shape = {key: getattr(SIZES[size], key) for key in SHAPE}
        try:
            sized = [(label, replace(config, model=replace(config.model, **shape))) for label, config in arms]
            plans[size] = plan(sized, seeds, parity, path / size, length, data)
        except ValueError as error:
            raise InputError(f"size {size}: {error}") from None
    return Scaling(base, data, path, plans)


def check_sizes(sizes: Sequence[str]) -> None:
    """Refuse sizes that there are not, or that are named twice.

    Raises:
        InputError: with those there are.
    """
    if not sizes or len(set(sizes)) < len(sizes):
        raise InputError(f"sizes=[{','.join(sizes)}]: name each size once, at least one of {', '.join(SIZES)}")
    for size in sizes:
        if size not in SIZES:
            close = get_close_matches(size, SIZES, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"sizes: {size}: unknown; available: {', '.join(SIZES)}{hint}")


def dry_run(
    arms: Sequence[tuple[str, RunConfig]],
    sizes: Sequence[str] = DEFAULT_SIZES,
    seeds: int | Sequence[int] = 1,
    parity: Mode = "parameters",
    output: Path | str | None = None,
    jobs: int | None = None,
    second: str | None = None,
) -> dict[str, Any]:
    """What `headwise.lab.scaling.scale.scale` would train and what that takes; trains nothing and writes nothing.

    Returns:
        sizes.NAME.LABEL.{model, parameters, flops_per_example, memory, seconds, ...}, seconds in all, machine, how.

    Raises:
        InputError: as `scale`.
    """
    planned = prepare(arms, sizes, seeds, parity, output)
    planned.check_output()
    planned.check_second(second)
    needs = planned.memory(finished=True)
    jobs, threads = planned.share(needs, jobs)
    times = {key: seconds(config, planned.data, threads) for key, config in planned.configs.items()}
    remaining = sum(times[run.size, run.label].run for run in planned.runs if not run.finished)
    return {
        "task": planned.base.entry.name,
        "arms": [label for label, _ in arms],
        "seeds": next(iter(planned.sizes.values())).seeds,
        "parity": planned.parity,
        "updates": planned.base.training.updates,
        "batch_size": planned.base.training.batch_size,
        "sizes": {
            size: {
                one.label: {
                    "model": to_plain(one.model),
                    "parameters": one.size.parameters,
                    "parameter_ratio": one.parameter_ratio,
                    "flops_per_example": one.size.flops,
                    "flops_ratio": one.flops_ratio,
                    "memory": asdict(needs[size, one.label]) | {"peak": needs[size, one.label].peak},
                    "seconds": asdict(times[size, one.label]) | {"run": times[size, one.label].run},
                    "runs": len(comparison.seeds),
                    "finished": len(comparison.seeds) - len(planned.unfinished((size, one.label))),
                }
                for one in comparison.sized.arms
            }
            for size, comparison in planned.sizes.items()
        },
        "seconds": remaining / jobs,
        "machine": {"memory": capacity(planned.device), "device": planned.device, "jobs": jobs, "threads": threads},
        "how": HOW,
    }


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB"
