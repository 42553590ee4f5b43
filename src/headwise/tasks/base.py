"""What a task is: seeded data, a model's two ends around a backbone, a loss, metrics and references.

Training, comparison and report know a task through this file alone; a new task is a folder that fills it in.
Legend: B batch, L length, D width, K supervised steps.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from headwise.errors import InputError
from headwise.models.refusals import TaskFacts
from headwise.routing.layout import Layout
from headwise.schema import short
from headwise.tasks.scenes import Drawn

if TYPE_CHECKING:
    from headwise.models.arm import Arm
    from headwise.models.backbone import RoutedStack
    from headwise.models.sizes import ModelConfig
    from headwise.reasoning.trace import Trace

Batch = dict[str, Tensor]
"""Named tensors, each with B as its first dimension."""

KEYS = "random_keys"
"""Name in a batch of int64 [B], of which what is random about an example's refinement is drawn (`draws.keys_of`)."""

SPLITS = ("train", "validation", "test")


class Source(ABC):
    """Examples of one split. Everything is a function of the configuration, the seed and the index."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples; of a source without end, the number in one epoch."""

    @abstractmethod
    def batch(self, index: Tensor) -> Batch:
        """The examples at `index` (int64 [B]). The same index always gives the same example, in whatever batch."""

    def names(self, index: int) -> Sequence[str]:
        """The words for the tokens of an example, where its batch does not hold them; none by default."""
        return ()

    def plan(self, batch_size: int, seed: int, epoch: int, shuffle: bool) -> list[Tensor]:
        """The indices of one epoch, batch by batch; the last batch may be smaller.

        The order depends on (seed, epoch) alone, so that a resumed run sees the batches it would have seen.
        """
        order = np.random.default_rng([seed, epoch]).permutation(len(self)) if shuffle else np.arange(len(self))
        return list(torch.split(torch.from_numpy(order), batch_size))

    def fingerprint(self) -> str:
        """Digest of all examples in their order. Where two seeds have the same one, they have the same examples.

        Taken of every split at the start of a run, so a source that is slow to give all its examples takes it of what
        they are made from.
        """
        seen = hashlib.sha256()
        for index in torch.split(torch.arange(len(self)), 256):
            for name, values in sorted(self.batch(index).items()):
                seen.update(f"{name}{tuple(values.shape)}".encode())
                seen.update(values.contiguous().flatten().view(torch.uint8).numpy().data)
        return seen.hexdigest()[:16]


class TaskData(ABC):
    """The three splits of a task and what the best and the simplest predictors reach on them.

    Args:
        config: the task's own configuration.
        seed: of everything random in the data; the splits never share examples.
        cache: a directory for what is expensive to compute again, or None.
    """

    facts: dict[str, Any]
    """What a model must know of the data (vocabulary sizes, say), as plain JSON; saved with the weights."""
    notes: dict[str, Any]
    """What else is worth knowing of the data, as plain JSON; saved beside, and no reason to refuse anything."""

    def __init__(self, config: Any, seed: int, cache: Path | None = None) -> None:
        self.config = config
        self.seed = seed
        self.cache = cache
        self.facts = {}
        self.notes = {}

    def adopt(self, facts: dict[str, Any]) -> None:
        """Read and number the examples as a model with these facts does; called, if at all, before anything is read.

        By default both must have the same facts.

        Raises:
            InputError: a model with these facts does not fit the data.
        """
        for key in dict.fromkeys([*facts, *self.facts]):
            before, after = facts.get(key), self.facts.get(key)
            if before != after:
                raise InputError(f"the run was trained on data with {key}={short(before)}, these have {short(after)}")

    @abstractmethod
    def split(self, name: str) -> Source:
        """The source called `train`, `validation` or `test`."""

    @abstractmethod
    def references(self, source: Source) -> dict[str, Tensor]:
        """The primary metric of the reference predictors, per example: `floor`, `ceiling`, and others by name.

        Each is float [len(source)]; NaN marks an example on which a reference was not computed.
        """

    def identity(self) -> dict[str, str]:
        """What tells these data from others: number and digest of the examples in each split, digest of the facts.

        A run keeps it and does not go on with other data; runs are compared only where it is the same.
        """
        known = json.dumps(self.facts, sort_keys=True, default=str)
        splits = {name: self.split(name) for name in SPLITS}
        found = {name: f"{len(source)} examples {source.fingerprint()}" for name, source in splits.items()}
        return found | {"facts": hashlib.sha256(known.encode()).hexdigest()[:16]}

    def references_by_metric(self, source: Source) -> dict[str, dict[str, Tensor]]:
        """The same for metrics other than the primary one: {metric: {reference: [len(source)]}}; none by default."""
        return {}


@dataclass(frozen=True)
class Shift:
    """One way in which test examples leave the distribution trained on; a point of it is settings of the task, so that
    `headwise evaluate` reaches the same examples.

    Attributes:
        about: what changes along it, in a few words.
        trained: the value that a run with these settings was trained at, as it is shown.
        settings: value -> keys of the task that are set for it, each with its value.
        values: that are measured if nobody names others; none where they are the user's to name (files).
        drawn: the examples come from a generator, or from data that no run has read: they are drawn from a seed of
            their own, the same for all runs. False: they are part of the data of each run, which tell what was trained
            on from what was held out.
        steps: value -> refinement steps that it takes, as a multiple of those trained; default 1.

    Raises:
        ValueError: from `settings`: a value that means nothing.
    """

    about: str
    trained: Any
    settings: Callable[[Any], Mapping[str, Any]]
    values: tuple[Any, ...] = ()
    drawn: bool = True
    steps: Callable[[Any], float] = lambda value: 1.0

    @classmethod
    def of(cls, about: str, config: Any, key: str, values: tuple[Any, ...], drawn: bool = True) -> Shift:
        """Along one key of the task's configuration; the value trained at is that of `config`."""
        return cls(about, getattr(config, key), lambda value: {key: value}, values, drawn)


class Task(Drawn, nn.Module, ABC):
    """Embedder, read-out, loss and metrics: what stands around a backbone of any kind.

    It owns no parameter itself; its sub-modules declare their roles (`backbone` for embedders, `readout`).

    Args:
        config: the task's own configuration.
        facts: `TaskData.facts` of the data that the model was built for.
        width: D of the backbone.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    """Name of the primary metric: selection, comparison and references use it."""
    higher_is_better: ClassVar[bool] = True
    """Direction of the primary metric."""
    metric_range: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """The smallest and the largest value that the primary metric can take, so that no interval leaves it."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    """All metrics of which lower values are better, those of the task's analysis and the primary one included."""
    exact: ClassVar[str | None] = None
    """Name of the metric that is 1 where the answer to an example is right as a whole and else 0, if there is one."""
    causal: ClassVar[bool] = False
    """Whether position i may see only positions up to i."""
    training_size: ClassVar[str | None] = None
    """The key of its configuration that says how many examples are trained on, if there is one."""
    has_positions: ClassVar[bool] = False
    """Whether `layout` says where on a grid the tokens are."""
    brings_stack: ClassVar[bool] = False
    """Whether `stack` is not a `Backbone` but a model that is there already, applied once, of a shape of its own."""

    def __init__(self, config: Any, facts: dict[str, Any], width: int) -> None:
        super().__init__()
        self.config = config
        self.facts = facts
        self.width = width

    def warm_start(self) -> None:
        """Fill in weights that were learned elsewhere; called once, when a new run is built. By default none are.

        Raises:
            InputError: they are not to be had.
        """

    @classmethod
    def check(cls, config: Any, model: ModelConfig) -> None:
        """Refuse settings of the task that a backbone of this shape does not serve; by default there are none.

        Raises:
            InputError: one line with the key, its value, the reason and the remedy.
        """

    @classmethod
    def resolve(cls, config: Any, arm: Arm, model: ModelConfig) -> tuple[Arm, ModelConfig]:
        """Arm and shape as settings of the task make them; by default as they are. A run's configuration has them so.

        Raises:
            InputError: they do not go together.
        """
        return arm, model

    def stack(self, model: ModelConfig, arm: Arm) -> RoutedStack:
        """What stands between `embed` and `read_out`: a `Backbone`, or a `RoutedStack` of the task's own."""
        from headwise.models.backbone import Backbone

        return Backbone(model, arm, causal=self.causal)

    @classmethod
    def relations(cls, config: Any) -> tuple[str, ...]:
        """Names of the relations of `layout`, in its order, along which heads can be made to see; none by default."""
        return ()

    @classmethod
    def declared(cls, config: Any) -> TaskFacts:
        """What decides which arms and shapes the task takes under these settings."""
        return TaskFacts(cls.causal, cls.relations(config), cls.has_positions, 0, 0, cls.brings_stack, bool(cls.exact))

    @classmethod
    def shifts(cls, config: Any) -> dict[str, Shift]:
        """By the name of an axis, how test examples can leave the distribution trained on; none by default."""
        return {}

    @abstractmethod
    def embed(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The backbone's input [B, L, D] and its padding mask (bool [B, L], True is a real token), or None."""

    def layout(self, batch: Batch) -> Layout:
        """How the tokens lie to each other, the padding apart, which `embed` returns; nothing by default."""
        return Layout()

    def at_step(self, batch: Batch, step: int) -> Batch:
        """The batch as the state after so many refinement steps (from 1) is scored on it in training, for `read_out`
        and `loss`; the number of terms is that of the batch. By default the same after every step."""
        return batch

    @abstractmethod
    def read_out(self, hidden: Tensor, batch: Batch) -> Any:
        """A prediction from hidden states [B, L, D]: all that `loss` and `metrics` need, B first."""

    @abstractmethod
    def loss(self, prediction: Any, batch: Batch) -> Tensor:
        """The loss of each example, summed over its terms, [B]."""

    @abstractmethod
    def terms(self, batch: Batch) -> Tensor:
        """How many terms that sum has, [B], a number of any type.

        It is known before the model runs, so that a batch may be computed in parts, one after the other or by several
        processes, and every term still weighs the same.
        """

    @abstractmethod
    def metrics(self, prediction: Any, batch: Batch) -> dict[str, Tensor]:
        """Every metric per example, float [B], NaN where an example has nothing to measure."""

    def answer(self, prediction: Any, batch: Batch) -> Tensor:
        """The answer that a prediction comes to, int64 [B, A], as many numbers as it takes and -1 behind them: two
        answers are the same where these are. A task need not have this, or `valid`; without them some selections of
        `headwise think` are refused.

        Raises:
            NotImplementedError: the task does not tell answers apart.
        """
        raise NotImplementedError

    def valid(self, prediction: Any, batch: Batch) -> Tensor:
        """Whether the answer agrees with all that the question says, bool [B]; who checks does not know the solution.

        Raises:
            NotImplementedError: the task has no such check.
        """
        raise NotImplementedError


class TaskModel(nn.Module):
    """A task around a backbone: the whole model, from batch to hidden states.

    `model.task.read_out(trace.states[k], batch)` is the prediction after supervised step k.
    """

    def __init__(self, task: Task, backbone: Any) -> None:
        super().__init__()
        self.task = task
        self.backbone = backbone

    def embed(self, batch: Batch) -> tuple[Tensor, Layout]:
        """What the backbone is given: the embedding [B, L, D], and the layout with its padding."""
        x, padding = self.task.embed(batch)
        return x, replace(self.task.layout(batch), padding=padding, keys=batch.get(KEYS))

    def forward(self, batch: Batch, carry: Any = None, gates: Any = None, record: bool = False) -> Trace:
        """Embed the batch and run the backbone; `carry`, `gates` and `record` are the backbone's."""
        x, layout = self.embed(batch)
        trace: Trace = self.backbone(x, layout, carry=carry, gates=gates, record=record)
        return trace


@dataclass(frozen=True)
class Sample:
    """What a model made of one example: what it was given, what it wrote, what was expected, each as a person reads it.

    Attributes:
        agreement: share of what was expected that was written, from the beginning on.
    """

    given: str
    written: str
    expected: str
    agreement: float


@dataclass(frozen=True)
class Ending:
    """How a command that wrote text as it went along ends.

    Attributes:
        data: what there is to say about it, plain JSON; `--json` prints it together with the text.
        code: how the program ends; 1 where a part of the work failed.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    code: int = 0


Writing = Generator[str, None, Ending]
"""What such a command returns: parts of its text, then its ending."""


@dataclass(frozen=True)
class TaskEntry:
    """What a task's folder exposes as `ENTRY`.

    Attributes:
        name: as in `task=name`.
        summary: one line for `headwise list`.
        config, task, data: its three classes.
        needs: packages, by the names that Python imports, that it cannot do without and headwise does not depend on.
        commands: of the command line that the task brings along, name (of one word or two) to a module with a dataclass
            `Options`, whose docstring is the command's help, and `run(options, load)`, which is given
            `headwise.training.evaluation.load` and returns plain JSON, or a `Writing` for output that may be long.
        sample: dotted path of a function of (model, source) -> `Sample`, for tasks whose models write something.
        analysis: dotted path of a function of (model, data, source, batch_size) that looks at what a trained model does
            on a source of that data, at most so many examples at once, beyond the means of `Task.metrics`. It returns
            plain JSON for analysis.json and the report:
                metrics   {name: float}, which join those of the summary, in place of a mean of the same name
                tables    [{title, caption, columns: [name, ...], rows: [[cell, ...], ...]}, ...], the first cell of a
                          row a name, the others numbers or text
                figures   [{title, caption, svg}, ...], each an `<svg>` element that needs nothing from outside
        example: settings, as in YAML, of a small instance for the laws; by default the settings of `config`.
    """

    name: str
    summary: str
    config: type[Any]
    task: type[Task]
    data: type[TaskData]
    commands: Mapping[str, str] = field(default_factory=dict)
    sample: str | None = None
    analysis: str | None = None
    example: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """What the module that defines the task's configuration, or its folder, says of the task."""
        home = sys.modules[self.config.__module__]
        folder = sys.modules.get(home.__package__ or "", home)
        return ((folder if hasattr(folder, "ENTRY") else home).__doc__ or "").partition("\n\n")[0]
