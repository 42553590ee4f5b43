"""The configuration of a run: what is trained, how, and where it is written."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from headwise import plugins
from headwise.errors import InputError
from headwise.files import read_yaml
from headwise.models.arm import Arm, check
from headwise.models.sizes import ModelConfig
from headwise.reasoning import CONTROLLERS, HALTING
from headwise.registry import name_of
from headwise.routing import GATES, ROUTERS
from headwise.schema import FilePath, build, named, short, to_plain
from headwise.tasks import TASKS, entry
from headwise.tasks.base import TaskEntry
from headwise.training.files import CONFIG
from headwise.training.optim import PRESETS, Preset, Uniform
from headwise.training.schedules import Decay, Entropy, Temperature

Logger = Literal["tensorboard", "wandb", "wandb_offline"]


ROUTING_LOSSES = {
    "ponder": 0.01,
    "slow_updates": 0.01,
    "load_balance": 0.01,
    "router_z": 0.001,
    "complexity": 0.01,
    "sparsity": 0.001,
    "budget": 1.0,
    "halting": 0.5,
}
"""Names and default weights of the routing losses, the entropy apart, which has a direction and a schedule."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained. Shares are of the run, from 0 to 1.

    Args:
        updates: optimiser steps in the whole run.
        batch_size: examples per step.
        evaluation_batch_size: examples at once in validation and test.
        validate_every: updates between validations; one more follows the last update.
        log_every: updates averaged in one training line of metrics.jsonl.
        preset: learning rates and clipping by role: `uniform`, `stable`, `differentiated`, `fine_tuning`.
        schedule: of all learning rates after the warm-up: cosine (default), linear, constant.
        warmup: share of the run; the first step runs at 1/warm-up of the rate, never at 0.
        temperature: of the gate functions' softmax.
        entropy: weight and direction of the gates' entropy.
        losses: weights of the other routing losses by name; those not given keep their default, as published:
            `ponder` (expected refinement steps) and `slow_updates` (expected updates of the slow module) 0.01; of
            arm.balance `load_balance` 0.01, `router_z` 0.001, `complexity` 0.01, `sparsity` 0.001, and `budget` 1,
            which finds its strength by itself; of arm.halting=correct `halting` (whether answers are judged as they
            are) 0.5.
        ramp: share of the run over which the weights in `losses` rise from 0, that of `halting` apart, which is no
            cost; default 0.1, so that a cost does not decide before the task loss has a gradient worth following.
        freeze_controller: share of the run in which routers, controllers and halting heads are left as they are.
        precision: fp32 (default), bf16 for mixed precision, or auto for the faster of the two on this machine, timed
            at the run's own shape before it begins and written into its configuration; which is faster differs by a
            factor of four either way between processors.
        compile: compile the blocks with torch.compile; takes a minute before the first update, pays on accelerators.
        checkpointing: of activations: what a block's backward pass needs is computed there once more, not kept, in
            less memory; a third more products, the same gradients.
        accumulate: parts in which a process computes its share of a batch, one after the other, in as much less memory;
            the update is that of the whole batch.
        ema: share of the old average that stays in an exponential moving average of the weights, 0.999 say; validation,
            test and the saved model then use the average, and checkpoints hold both. Null (default): none.
        max_seconds: in updates, validation apart, after which training ends as if it had come to its last update; null
            (default) for no limit.
        processes: on this machine that share each batch (torchrun starts them on several machines); default 1.
        shard: split weights and optimiser state over the processes (FSDP), for models that do not fit one device.
        patience: stop after so many validations without a better primary metric; null (default) trains to the end. The
            best weights on validation are kept either way.
        profile: look at ten updates with torch's profiler: where their time and memory go, by part of the model (in
            `profile/` and on the run's page), and a trace for Perfetto. The time of updates and epochs then joins the
            records. Default off; an update that is looked at takes longer.
        loggers: beside metrics.jsonl, which is always written. `wandb` and `wandb_offline` need headwise[wandb].
        threads: of torch on the CPU; null leaves them as they are.
    """

    updates: int = 1000
    batch_size: int = 64
    evaluation_batch_size: int = 500
    validate_every: int = 100
    log_every: int = 50
    preset: Preset = named(PRESETS, Uniform())
    schedule: Decay = "cosine"
    warmup: float = 0.05
    temperature: Temperature = Temperature()
    entropy: Entropy = Entropy()
    losses: dict[str, float] = field(default_factory=dict)
    ramp: float = 0.1
    freeze_controller: float = 0.0
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    compile: bool = False
    checkpointing: bool = False
    accumulate: int = 1
    ema: float | None = None
    max_seconds: float | None = None
    processes: int = 1
    shard: bool = False
    patience: int | None = None
    profile: bool = False
    loggers: tuple[Logger, ...] = ("tensorboard",)
    threads: int | None = None

    def __post_init__(self) -> None:
        counted = ("updates", "batch_size", "evaluation_batch_size", "validate_every", "log_every")
        for key in (*counted, "accumulate", "processes"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}; choose 1 or more")
        for key in ("patience", "threads"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}; choose 1 or more, or null")
        if self.profile and self.updates < 3:
            raise ValueError(f"profile=true with updates={self.updates}: choose 3 updates or more")
        if self.batch_size < self.accumulate * self.processes:
            raise ValueError(
                f"batch_size={self.batch_size}: fewer examples than parts (accumulate={self.accumulate}, processes="
                f"{self.processes}); choose {self.accumulate * self.processes} or more"
            )
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema={self.ema}; choose a share between 0 and 1, or null")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"max_seconds={self.max_seconds}; choose more than 0, or null")
        if self.warmup >= 1:
            raise ValueError(
                f"warmup={self.warmup} is longer than the run; it is a share of it: choose 0 <= warmup < 1"
            )
        for key in ("warmup", "freeze_controller"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key}={getattr(self, key)}; choose a share of the run, 0 <= {key} < 1")
        if not 0 <= self.ramp <= 1:
            raise ValueError(f"ramp={self.ramp}; choose a share of the run, 0 <= ramp <= 1")
        for name, weight in self.losses.items():
            if name not in ROUTING_LOSSES:
                known = ", ".join(ROUTING_LOSSES)
                raise ValueError(
                    f"losses.{name}={weight}: unknown; known: {known} (the entropy's weight is entropy.weight)"
                )
            if weight < 0:
                raise ValueError(f"losses.{name}={weight}; choose 0 or more")
        object.__setattr__(self, "losses", ROUTING_LOSSES | self.losses)

    @property
    def seconds_at_most(self) -> float:
        """`max_seconds`, infinite where there is no limit."""
        return math.inf if self.max_seconds is None else self.max_seconds


@dataclass(frozen=True)
class RunConfig:
    """One run: a task, an arm, a model's shape, a recipe and a seed.

    Args:
        task: a task's own configuration, such as `SortingConfig(length=20)`; in plain form `{name: sorting, ...}`.
        arm: what is built; refused combinations raise when this class is made.
        model: the backbone's shape.
        training: the recipe.
        name: of the arm, for the run's directory and its summary.
        seed: of the weights, the data, their order, and everything random in training.
        device: auto takes CUDA, then MPS, then the CPU.
        output: directory in which runs get a directory of their own.
        cache: directory for what a task computes once and uses again; null for none.
        quick: notes that the settings were cut down to try something; such a run's numbers are no results.

    Raises:
        InputError: a combination of parts that cannot work.
    """

    task: Any
    arm: Arm = Arm()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    name: str = "custom"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    output: FilePath = "runs"
    cache: FilePath | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed={self.seed}; choose 0 or more, below 2^63")
        arm, model = self.entry.task.resolve(self.task, self.arm, self.model)
        object.__setattr__(self, "arm", arm)
        object.__setattr__(self, "model", model)
        check(self.arm, self.entry.task.declared(self.task), self.model)
        self.entry.task.check(self.task, self.model)
        if self.arm.halting.judges and not self.training.losses["halting"]:
            raise InputError(
                "training.losses.halting=0: nothing else teaches the halting policy; choose more (default "
                f"{ROUTING_LOSSES['halting']}), or arm.halting.name=fixed"
            )

    @property
    def entry(self) -> TaskEntry:
        """The task that `task` configures."""
        return entry(_task_name(self.task))

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> "RunConfig":
        """From nested mappings, as in YAML or JSON.

        Raises:
            InputError: an unknown key or name, a value of the wrong type or out of range, a refused combination; a
                plugin that brought along what is named is not loaded.
        """
        rest = {key: value for key, value in values.items() if key not in ("task", "plugins")}
        try:
            return build(cls, {"task": task_from_plain(values.get("task")), **rest}, "")
        except InputError as error:
            needed = values.get("plugins")
            for plugin in plugins.missing(needed) if isinstance(needed, list) else ():
                raise InputError(f"{error} (plugin {plugin} is not loaded: --plugin {plugin})") from error
            raise

    def to_plain(self) -> dict[str, Any]:
        """Nested dictionaries of plain values, and the plugins that they need; `RunConfig.from_plain` reverses it."""
        task = {"name": _task_name(self.task), **to_plain(self.task)}
        rest = [item.name for item in fields(self) if item.name != "task"]
        needed = {"plugins": list(self.plugins)} if self.plugins else {}
        return {"task": task} | {key: to_plain(getattr(self, key)) for key in rest} | needed

    @property
    def plugins(self) -> tuple[str, ...]:
        """The plugins, or modules, that registered its task and the parts of its arm, headwise's own left out."""
        arm = self.arm
        found = [
            TASKS.plugin(_task_name(self.task)),
            ROUTERS.plugin(name_of(ROUTERS, type(arm.router))),
            GATES.plugin(name_of(GATES, type(arm.gate))),
            CONTROLLERS.plugin(name_of(CONTROLLERS, type(arm.controller))),
            HALTING.plugin(name_of(HALTING, type(arm.halting))),
        ]
        return tuple(dict.fromkeys(plugin for plugin in found if plugin is not None))

    def __reduce__(self) -> Any:
        """Travel to another process as plain values, which load there the plugins that they need.

        Raises:
            InputError: a part is defined in the running script, which the other process does not have.
        """
        if "__main__" in self.plugins:
            raise InputError(
                "the running script registers a part of this run, which other processes would not find: move it into "
                "a file, and load that with headwise.load_plugin or --plugin (or train in one process)"
            )
        return _arrived, (self.to_plain(),)


def _arrived(plain: Mapping[str, Any]) -> RunConfig:
    for plugin in plain.get("plugins", ()):
        plugins.load(plugin)
    return RunConfig.from_plain(plain)


def task_from_plain(values: Any) -> Any:
    """A task's configuration from its name or from `{name: ..., ...}`.

    Raises:
        InputError: no such task, or its own configuration refuses a value.
    """
    values = {"name": values} if isinstance(values, str) else values
    if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
        raise InputError(f"task={short(values)}: expected a name, one of {', '.join(TASKS)}")
    own = {key: value for key, value in values.items() if key != "name"}
    return build(entry(values["name"]).config, own, "task")


def read(path: Path) -> RunConfig:
    """The configuration that a run wrote into its directory.

    Raises:
        InputError: the directory is no run, or its configuration cannot be read.
    """
    file = path / CONFIG
    if not file.exists():
        raise InputError(f"{path}: not a run directory (it holds no {CONFIG})")
    values = read_yaml(file)
    if not isinstance(values, Mapping):
        raise InputError(f"{file}: not the configuration of a run (expected keys and values)")
    return RunConfig.from_plain(values)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted keys at which two plain configurations differ, with both values (None where a key is absent)."""
    found: list[tuple[str, Any, Any]] = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append((f"{prefix}{key}", before, after))
    return found


def _task_name(config: Any) -> str:
    # Whatever made this configuration is loaded already, and asking it first loads no other task.
    found = next((name for name, task in TASKS.loaded().items() if task.config is type(config)), None)
    found = found or next((name for name, task in TASKS.items() if task.config is type(config)), None)
    if found is None:
        raise InputError(
            f"task={type(config).__name__}: not the configuration of a task; choose one of {', '.join(TASKS)}"
        )
    return found
