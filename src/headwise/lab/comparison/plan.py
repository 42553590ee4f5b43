"""The plan of a comparison: arms of one size, the same data and recipe for all, a run for each arm and seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console

from headwise.errors import InputError
from headwise.files import make_folder, typed, write_json
from headwise.lab.comparison.parity import Measure, Mode, Parity, Size, match
from headwise.lab.comparison.runs import PlannedRun
from headwise.lab.outputs import PLAN, directory_name, run_directory
from headwise.lab.records import read_plan, readable_mapping
from headwise.models.arm import Arm
from headwise.models.flops import flops_per_example
from headwise.models.sizes import ModelConfig
from headwise.tasks.base import TaskData
from headwise.training.building import build_model, data_of, reproducible
from headwise.training.config import RunConfig, differences
from headwise.training.files import DATA
from headwise.training.identity import check_identity
from headwise.training.precision import settled
from headwise.training.progress import reported
from headwise.training.start import build

Precision = Literal["fp32", "bf16", "auto"]
ARM_KEYS = ("arm", "model", "name")
"""What arms may differ in; everything else of a run, data and recipe above all, is shared."""


@dataclass(frozen=True)
class Plan:
    """A comparison that may be made: every arm with its size, and a run for each arm and seed.

    Attributes:
        base: the first arm's configuration as it was given.
        data: of the task, for the base's seed.
        arms: configurations by label, each with the shape that parity gave it.
    """

    base: RunConfig
    data: TaskData
    seeds: list[int]
    sized: Parity
    arms: dict[str, RunConfig]
    runs: list[PlannedRun]
    output: Path

    def settled(self, threads: int) -> "Plan":
        """The plan with one precision for all runs, see `settled_precision`."""
        first, *_ = settled_precision(self.arms, self.output, threads).values()
        return self.with_precision(first.training.precision)

    def with_precision(self, precision: Precision) -> "Plan":
        """The plan with this precision for all runs."""
        arms = {label: with_precision(config, precision) for label, config in self.arms.items()}
        runs = [replace(run, config=with_precision(run.config, precision)) for run in self.runs]
        return replace(self, base=with_precision(self.base, precision), arms=arms, runs=runs)


def plan(
    arms: Sequence[tuple[str, RunConfig]],
    seeds: int | Sequence[int] = 3,
    parity: Mode = "parameters",
    output: Path | str | None = None,
    length: int | None = None,
    data: TaskData | None = None,
) -> Plan:
    """What `compare` would train, refused as it would be; writes nothing.

    Args:
        length: tokens of an example, if it is known already; else the data are asked.
        data: of the first arm's configuration, if they are there already.
    """
    seeds = seeds_of(seeds, arms)
    check_alike(arms)
    base = arms[0][1]
    output = Path(output) if output else new_directory(base, "compare")
    data = data or data_of(base)
    shapes = [(label, config.arm, config.model) for label, config in arms]
    length = length or length_of(base, data)
    sized = match(shapes, length, parity, base.entry.task.causal, measure_of(base, data))
    return assemble(arms, data, seeds, sized, output)


def assemble(
    arms: Sequence[tuple[str, RunConfig]], data: TaskData, seeds: list[int], sized: Parity, output: Path
) -> Plan:
    """A run for each arm, with the shape that it got, and each seed."""
    shaped = {
        label: replace(config, model=one.model, name=label)
        for one, (label, config) in zip(sized.arms, arms, strict=True)
    }
    runs = [
        PlannedRun(label, seed, replace(config, seed=seed), run_directory(output, label, seed))
        for seed in seeds
        for label, config in shaped.items()
    ]
    return Plan(arms[0][1], data, seeds, sized, shaped, runs, output)


def seeds_of(seeds: int | Sequence[int], arms: Sequence[tuple[str, RunConfig]]) -> list[int]:
    """The seeds that are meant by a number of them, or by a list.

    Raises:
        InputError: none, one below 0 or one twice; or no arms.
    """
    if not arms:
        raise InputError("arms=[]: name at least one arm")
    chosen = [arms[0][1].seed + i for i in range(seeds)] if isinstance(seeds, int) else list(seeds)
    if not chosen or min(chosen) < 0 or len(set(chosen)) < len(chosen):
        raise InputError(f"seeds={seeds}: choose how many (1 or more), or different whole numbers from 0 on")
    return chosen


def check_alike(arms: Sequence[tuple[str, RunConfig]]) -> None:
    """Refuse arms that differ in more than `ARM_KEYS`, or that would share a directory."""
    (first, base), labels = arms[0], [label for label, _ in arms]
    if len({directory_name(label) for label in labels}) < len(labels):
        raise InputError(f"arms={','.join(labels)}: two arms need two names (apart from punctuation)")
    shared = _shared_settings(base)
    for label, config in arms[1:]:
        for key, ours, theirs in differences(shared, _shared_settings(config)):
            raise InputError(f"{key}={theirs} in arm {label} but {ours} in {first}: arms of a comparison share {key}")


def _shared_settings(config: RunConfig) -> dict[str, Any]:
    """What arms have in common; learning rates may be what is compared, and are then part of an arm's label."""
    plain = {key: value for key, value in config.to_plain().items() if key not in ARM_KEYS}
    return plain | {"training": {key: value for key, value in plain["training"].items() if key != "preset"}}


def settled_precision(arms: Mapping[str, RunConfig], output: Path, threads: int | None) -> dict[str, RunConfig]:
    """The arms with fp32 or bf16 in place of `auto`, the same for all, as rounding would otherwise be part of what is
    compared: that of the runs which `output` holds, else whichever trains the first arm faster on this machine.

    Args:
        threads: of torch for each run.
    """
    first = next(iter(arms.values()))
    if first.training.precision != "auto":
        return dict(arms)
    held = [plain["training"]["precision"] for plain in read_plan(output / PLAN).values()]
    if held:
        precision = held[0]
    else:
        timed = replace(first, training=replace(first.training, threads=threads))
        with reproducible(timed), reported(Console(stderr=True)):
            data, model = build(timed)
            precision = settled(timed, model, data).training.precision
    return {label: with_precision(config, precision) for label, config in arms.items()}


def with_precision(config: RunConfig, precision: Precision) -> RunConfig:
    """The configuration with another precision."""
    return replace(config, training=replace(config.training, precision=precision))


def keep_plan(output: Path, arms: Mapping[str, RunConfig], data: TaskData) -> None:
    """Write down what the runs of this directory are made of, and refuse to mix them with runs of another making.

    Args:
        output: of a comparison or a ladder.
        arms: by label.
        data: of one seed of these runs.

    Raises:
        InputError: the directory holds runs of other settings, or of other data; names both.
    """
    old = read_plan(output / PLAN)
    changing = ("seed", "output", "device", "cache", "name")
    new = {
        directory_name(label): {key: value for key, value in config.to_plain().items() if key not in changing}
        for label, config in arms.items()
    }
    for name in filter(old.__contains__, new):  # in their order, so that the same mistake is told in the same words
        for key, before, after in differences(old[name], new[name]):
            raise InputError(
                f"output={output}: holds runs of {name} with {key}={before}, now {after}; choose another output"
            )
    seed, identity = f"seed {data.seed}", data.identity()
    known = readable_mapping(output / DATA)
    if seed in known:
        check_identity(f"output={output}", typed(known, seed, dict, output / DATA), identity)
    make_folder(output)
    write_json(output / DATA, {**known, seed: identity})
    write_json(output / PLAN, {**old, **new})


def new_directory(base: RunConfig, kind: str) -> Path:
    """Where a comparison, or another `kind` of work on several runs, goes by default."""
    return Path(base.output) / f"{kind}-{base.entry.name}-{datetime.now():%Y%m%d-%H%M%S}"


def measure_of(config: RunConfig, data: TaskData) -> Measure | None:
    """How the size of an arm is measured where the task brings its stack along; None where it does not."""
    if not config.entry.task.brings_stack:
        return None

    def measured(model: ModelConfig, arm: Arm, length: int) -> Size:
        with torch.device("meta"):
            built = build_model(replace(config, arm=arm, model=model), data.facts)
        return Size(sum(p.numel() for p in built.parameters()), flops_per_example(built.backbone, length))

    return measured


def length_of(config: RunConfig, data: TaskData) -> int:
    """Tokens of an example as the backbone sees them, from one test example."""
    batch = data.split("test").batch(torch.arange(1))
    with torch.no_grad():
        embedded, _ = config.entry.task(config.task, data.facts, config.model.width).embed(batch)
    return int(embedded.shape[1])
