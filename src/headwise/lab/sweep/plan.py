"""The plan of a sweep: settings that share test examples are one comparison with the base, others stand beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from headwise.errors import InputError
from headwise.lab.comparison.launching import share_cores
from headwise.lab.comparison.parity import Mode, as_they_are, match
from headwise.lab.comparison.plan import Plan, assemble, length_of, measure_of, new_directory, seeds_of
from headwise.lab.comparison.runs import PlannedRun
from headwise.lab.outputs import CONFIRMATION, SEARCH, directory_name, refuse_other_work
from headwise.lab.scaling.budget import seconds
from headwise.lab.sweep.space import Settings, Space, Values, settings_of
from headwise.tasks.base import TaskData
from headwise.training.building import data_of
from headwise.training.config import RunConfig

Sampler = Literal["grid", "random", "optuna"]
HOW = "Time from timed updates of one block of each setting, extended by FLOPs, for a machine with nothing else to do."


@dataclass(frozen=True)
class Sweep:
    """Everything that the search trains, and how often its best setting is trained again.

    Attributes:
        plans: of settings that are scored on the same examples; those of the base first.
        confirm: fresh seeds for the best setting and the base.
        given_up: settings of which no further seed is trained.
    """

    space: Space
    settings: Settings
    output: Path
    plans: tuple[Plan, ...]
    confirm: int
    given_up: frozenset[str] = frozenset()

    @property
    def base(self) -> RunConfig:
        return self.plans[0].base

    @property
    def data(self) -> TaskData:
        return self.plans[0].data

    @property
    def seeds(self) -> list[int]:
        return self.plans[0].seeds

    @property
    def arms(self) -> dict[str, RunConfig]:
        """All settings."""
        return {label: config for plan in self.plans for label, config in plan.arms.items()}

    @property
    def runs(self) -> list[PlannedRun]:
        """What is to be trained, seed by seed, so that an early look sees each setting."""
        every = sorted((run for plan in self.plans for run in plan.runs), key=lambda run: self.seeds.index(run.seed))
        return [run for run in every if run.label not in self.given_up or run.begun]

    def settled(self, threads: int) -> "Sweep":
        """The sweep with one precision for all its runs."""
        first = self.plans[0].settled(threads)
        others = (plan.with_precision(first.base.training.precision) for plan in self.plans[1:])
        return replace(self, plans=(first, *others))

    def confirmation(self, best: str) -> Plan:
        """The comparison of the base with the best setting, on seeds that the search has not seen."""
        first = self.plans[0]
        arms = [(label, first.arms[label]) for label in (self.settings.base, best)]
        fresh = [max(self.seeds) + 1 + place for place in range(self.confirm)]
        shapes = [(label, config.arm, config.model) for label, config in arms]
        own = measure_of(first.base, first.data)
        sized = as_they_are(shapes, first.sized.length, first.base.entry.task.causal, own)
        return assemble(arms, first.data, fresh, sized, self.output / CONFIRMATION)


def choose(space: Space, sampler: Sampler, number: int | None, seeds: int, confirm: int, most: int) -> list[Values]:
    """The combinations that are tried.

    Raises:
        InputError: a number that does not go with the sampler, or more runs than `most`.
    """
    if sampler == "grid" and number is not None:
        raise InputError(f"number={number}: a grid has as many settings as there are; choose sampler=random")
    if sampler != "grid" and (number is None or number < 1):
        raise InputError(f"sampler={sampler}: says with number= how many settings to try, as number=20")
    count = space.size if number is None else min(number, space.size)
    if sampler == "grid":
        space.grid()  # which an interval refuses, however long the grid
    if (runs := count * seeds + 2 * confirm) > most:
        smaller = "sampler=random number=50, " if sampler == "grid" else ""
        raise InputError(
            f"{count:.0f} settings with {seeds} seeds and {confirm} to confirm: {runs:.0f} runs, more than "
            f"max_runs={most}; choose fewer values, {smaller}or max_runs={runs:.0f}"
        )
    return list(space.grid()) if number is None else space.sample(number)


def prepare(
    space: Space,
    chosen: Sequence[Values],
    seeds: int | Sequence[int] = 3,
    confirm: int | None = None,
    parity: Mode = "none",
    output: Path | str | None = None,
) -> Sweep:
    """What `sweep` would train, refused as it would be; writes nothing.

    Raises:
        InputError: as `settings_of`; settings whose directories would have one name; an output that holds other work.
    """
    path = Path(output) if output else new_directory(space.base, "sweep")
    if path.exists() and not path.is_dir():
        raise InputError(f"output={path}: a file; choose a directory")
    refuse_other_work(path, ["a sweep"])
    settings = settings_of(space, chosen)
    known: dict[str, str] = {}
    for label in settings.configs:
        if (other := known.setdefault(directory_name(label), label)) != label:
            raise InputError(f"{other} and {label}: two settings need two names (apart from punctuation)")
    arms = list(settings.configs.items())
    own = seeds_of(seeds, arms)
    if confirm is not None and confirm < 0:
        raise InputError(f"confirm={confirm}: choose how many fresh seeds, 0 for none")
    plans = tuple(_planned(group, own, parity, path / SEARCH) for group in _by_examples(arms))
    return Sweep(space, settings, path, plans, len(own) if confirm is None else confirm)


def _by_examples(arms: Sequence[tuple[str, RunConfig]]) -> list[tuple[list[tuple[str, RunConfig]], TaskData]]:
    """The settings by the examples that they are validated and tested on, each with data of the first."""
    data: dict[str, TaskData] = {}
    groups: dict[tuple[str, ...], tuple[list[tuple[str, RunConfig]], TaskData]] = {}
    for label, config in arms:
        task = str(config.task)
        if task not in data:
            data[task] = data_of(config)
        identity = data[task].identity()
        group = groups.setdefault((identity["validation"], identity["test"]), ([], data[task]))
        group[0].append((label, config))
    return list(groups.values())


def _planned(group: tuple[list[tuple[str, RunConfig]], TaskData], seeds: list[int], parity: Mode, output: Path) -> Plan:
    arms, data = group
    base = arms[0][1]
    shapes = [(label, config.arm, config.model) for label, config in arms]
    how = (length_of(base, data), base.entry.task.causal, measure_of(base, data))
    length, causal, own = how
    sized = as_they_are(shapes, *how) if parity == "none" else match(shapes, length, parity, causal, own)
    return assemble(arms, data, seeds, sized, output)


def dry_run(planned: Sweep, jobs: int | None = None) -> dict[str, Any]:
    """What a sweep would train and how long that takes; trains nothing and writes nothing.

    Returns:
        settings.LABEL.{parameters, flops_per_example, updates, seconds, runs, finished}, left_out, seconds in all,
        machine, how.
    """
    jobs, threads = share_cores(jobs, len(planned.runs), planned.base)
    seconds(planned.base, planned.data, threads)  # the first of a process is slower than those that follow
    settings, times = {}, dict[str, float]()
    remaining = 0.0
    for plan in planned.plans:
        for one in plan.sized.arms:
            config = plan.arms[one.label]
            times[one.label] = seconds(config, plan.data, threads).run
            runs = [run for run in plan.runs if run.label == one.label]
            settings[one.label] = {
                "parameters": one.size.parameters,
                "parameter_ratio": one.parameter_ratio,
                "flops_per_example": one.size.flops,
                "updates": config.training.updates,
                "seconds": times[one.label],
                "runs": len(runs),
                "finished": sum(run.finished for run in runs),
            }
            remaining += times[one.label] * sum(not run.finished for run in runs)
    known = [times[label] for label in planned.plans[0].arms]
    # Which setting will be confirmed is not known; the dearest one is the safe guess
    remaining += planned.confirm * (known[0] + max(known)) if len(known) > 1 else 0.0
    return {
        "task": planned.base.entry.name,
        "base": planned.settings.base,
        "keys": list(planned.space.keys),
        "seeds": planned.seeds,
        "confirm": planned.confirm,
        "settings": settings,
        "left_out": planned.settings.left_out,
        "seconds": remaining / jobs,
        "machine": {"device": planned.base.device, "jobs": jobs, "threads": threads},
        "how": HOW,
    }
