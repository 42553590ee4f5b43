"""One run at one point of an axis: the test examples, the model as it was trained, changed as the axis says, and its
score on them between their own floor and ceiling."""

import json
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headwise.errors import InputError, StorageError
from headwise.files import make_folder, read_array, read_mapping, write_json, writing
from headwise.lab.ood.axes import Axis, settings_of
from headwise.lab.ood.loads import head_order
from headwise.lab.ood.runs import Trained
from headwise.lab.records import number
from headwise.routing.ablation import GateNoise, KeptHeads, changed_gates
from headwise.tasks.base import Source, TaskData, TaskModel
from headwise.training.building import reproducible
from headwise.training.config import RunConfig, task_from_plain
from headwise.training.evaluation import adopt, overridden, restored, score_on_device
from headwise.training.machine import device_of

DRAWN = 1_000_000_007
"""The seed of examples that are drawn anew. Splits are drawn from streams of their own under each seed, so that a run
which was trained with this very seed has not seen them either."""


@dataclass(frozen=True)
class Measured:
    """What a run did on a test set.

    Attributes:
        value: mean of the primary metric; None where it is not finite.
        floor, ceiling: of the test set; None where not known.
        fingerprint: of the test set.
        values: of each example, float32 [N].
    """

    value: float | None
    floor: float | None
    ceiling: float | None
    fingerprint: str
    values: NDArray[np.float32]


@dataclass(frozen=True)
class TestSet:
    """Test examples with what stands around them; the data's other splits are there, too."""

    __test__ = False  # no test case, whatever its name

    data: TaskData
    source: Source
    floor: float | None
    ceiling: float | None
    fingerprint: str


class Measuring:
    """Measures runs, and keeps test sets and what is known of heads from one point to the next.

    Args:
        settings: of the runs, where they are to be others than in training, by dotted key.
        most: test sets kept, those used last; at least as many as there are seeds.
    """

    def __init__(self, settings: Mapping[str, Any], most: int) -> None:
        self.settings, self.most = settings, most
        self._sets: OrderedDict[str, TestSet] = OrderedDict()
        self._orders: dict[Path, Tensor] = {}

    def __call__(self, run: Trained, axis: Axis | None, value: Any = None) -> Measured:
        """The run at a value of an axis; without one as it was trained.

        Raises:
            InputError: its weights do not fit, or there are no such examples.
        """
        config = self.config_of(run)
        with reproducible(config):
            if axis is not None and axis.shift is not None:
                return self._shifted(run, config, axis, value)
            test = self.test_set(run, config, config.task, config.seed)
            model = restored(run.directory, config, run.facts)
            with nullcontext() if axis is None else self._changed(run, config, model, test.data, axis.name, value):
                return _scored(config, model, test)

    def config_of(self, run: Trained) -> RunConfig:
        """The run's configuration under the settings.

        Raises:
            InputError: an unknown key, or a value that does not fit.
        """
        if not self.settings:
            return run.config
        return RunConfig.from_plain(overridden(run.config.to_plain(), self.settings))

    def test_set(self, run: Trained, config: RunConfig, task: Any, seed: int) -> TestSet:
        """The test examples of a task's settings, read as the run reads them."""
        key = json.dumps([repr(task), seed, run.facts], sort_keys=True, default=str)
        if key not in self._sets:
            data = config.entry.data(task, seed, Path(config.cache) if config.cache else None)
            adopt(data, run.facts, run.directory)
            source = data.split("test")
            levels = {name: number(v.double().nanmean().item()) for name, v in data.references(source).items()}
            self._sets[key] = TestSet(data, source, levels.get("floor"), levels.get("ceiling"), source.fingerprint())
        self._sets.move_to_end(key)
        while len(self._sets) > self.most:
            self._sets.popitem(last=False)
        return self._sets[key]

    def _shifted(self, run: Trained, config: RunConfig, axis: Axis, value: Any) -> Measured:
        """On the examples of a value of one of the task's own axes."""
        assert axis.shift is not None
        plain = config.to_plain()["task"] | settings_of(axis, value)
        try:
            task = task_from_plain(plain)
            config.entry.task.check(task, config.model)
            test = self.test_set(run, config, task, DRAWN if axis.shift.drawn else config.seed)
            model = restored(run.directory, config, run.facts, task)
            if (times := axis.shift.steps(value)) != 1:
                model.backbone.set_steps(_steps(config, times))
            return _scored(config, model, test)
        except (InputError, StorageError):
            raise
        except (RuntimeError, ValueError, LookupError) as error:  # of a model that no rule of its task told apart
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"the weights do not fit ({type(error).__name__}: {reason})") from error

    def _changed(self, run: Trained, config: RunConfig, model: TaskModel, data: TaskData, axis: str, value: Any) -> Any:
        """The model changed as an axis of every model says; for as long as the context is open."""
        if axis == "steps":
            model.backbone.set_steps(_steps(config, value))
            return nullcontext()
        if axis == "noise":
            return changed_gates(model, GateNoise(value, run.seed)) if value else nullcontext()
        if value > config.model.heads:
            raise InputError(f"{axis}={value}: it has {config.model.heads}")
        if axis == "random_heads":
            layers = config.model.depth * config.arm.refinement.recursion.stacks
            order = random_order(layers, config.model.heads, run.seed)
        else:
            order = self._order(run, config, model, data)
        return changed_gates(model, KeptHeads.first(order, value))

    def _order(self, run: Trained, config: RunConfig, model: TaskModel, data: TaskData) -> Tensor:
        if run.directory not in self._orders:
            model.to(device_of(config.device))
            batch_size = config.training.evaluation_batch_size
            self._orders[run.directory] = head_order(model, data.split("validation"), batch_size)
            model.cpu()
        return self._orders[run.directory]


@cache
def random_order(depth: int, heads: int, seed: int) -> Tensor:
    """Each layer's heads in random order, int64 [N, H], the same for all arms of a seed; k + 1 heads are k and one."""
    return torch.rand(depth, heads, generator=torch.Generator().manual_seed(seed)).argsort(1)


def _steps(config: RunConfig, times: float) -> int:
    trained, cycle = config.arm.refinement.steps, config.arm.refinement.recursion.cycle
    if times < 1 and trained == 1:
        raise InputError(f"steps={times:g}: it was trained on 1 refinement step, and fewer are none")
    return cycle * max(1, round(times * trained / cycle))


def _scored(config: RunConfig, model: TaskModel, test: TestSet) -> Measured:
    result = score_on_device(config, model, test.source, config.training.evaluation_batch_size)
    values = result.metrics[model.task.metric]
    mean = number(values.double().nanmean().item())
    return Measured(mean, test.floor, test.ceiling, test.fingerprint, values.float().numpy())


def store(path: Path, measured: Measured, key: Mapping[str, Any]) -> None:
    """Write what was measured to `path`.npy and, when that is whole, to `path`.json; `key` says of what."""
    make_folder(path.parent)
    with writing(path.with_name(f"{path.name}.npy")) as out:
        np.save(out, measured.values, allow_pickle=False)
    known = {name: getattr(measured, name) for name in ("value", "floor", "ceiling", "fingerprint")}
    write_json(path.with_name(f"{path.name}.json"), {"of": dict(key), **known})


def stored(path: Path, key: Mapping[str, Any]) -> Measured | None:
    """What was written there of the same run and point; None if nothing was, or it is damaged, or of another."""
    try:
        found = read_mapping(path.with_name(f"{path.name}.json"))
        values = read_array(path.with_name(f"{path.name}.npy"))
    except InputError:
        return None
    if found.get("of") != dict(key) or values.ndim != 1 or values.dtype != np.float32:
        return None
    levels = {name: number(found.get(name)) for name in ("value", "floor", "ceiling")}
    return Measured(**levels, fingerprint=str(found.get("fingerprint")), values=values)
