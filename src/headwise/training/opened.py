"""A run on disk as an object: its configuration, data, model, records, and what its gates do on an example.

Legend: T refinement steps, N layers, L length, H heads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headwise.errors import InputError
from headwise.files import read_mapping, read_records
from headwise.models.checkpoint import CONFIG as MODEL
from headwise.reasoning.draws import keys_of
from headwise.tasks.base import KEYS, SPLITS, Batch, Source, TaskData, TaskModel
from headwise.tasks.scenes import Example
from headwise.training.building import data_of, reproducible
from headwise.training.config import RunConfig, read
from headwise.training.evaluation import overridden, restored, saved
from headwise.training.files import METRICS, ROUTING, SUMMARY
from headwise.training.loadable import find_run


def open_run(directory: str | Path, overrides: Mapping[str, Any] | None = None) -> "OpenRun":
    """A run, finished or not, to look at from Python; or a model that is loaded by name.

    Nothing but its configuration is read here; data, model and records are, where they are first asked for.

    Args:
        directory: of the run.
        overrides: dotted keys to values, as `evaluate` takes them: the run on other data, with more steps.

    Raises:
        InputError: the directory is no run, or the settings are none of it.
    """
    path = find_run(directory)
    config = read(path)
    return OpenRun(path, RunConfig.from_plain(overridden(config.to_plain(), overrides)) if overrides else config)


@dataclass(frozen=True)
class OpenRun:
    """What `open_run` returns.

    Attributes:
        directory: of the run.
        config: its settings.
    """

    directory: Path
    config: RunConfig

    @cached_property
    def data(self) -> TaskData:
        """Its data, read or generated again, and numbered as its model was trained.

        Raises:
            InputError: they are not to be had, or the model does not fit them any more.
        """
        with reproducible(self.config):
            data = data_of(self.config)
            if (self.directory / MODEL).exists():
                data.adopt(saved(self.directory)[1])
            return data

    @cached_property
    def model(self) -> TaskModel:
        """Its model with the best weights on validation, on the CPU, in evaluation mode.

        Raises:
            InputError: the run is not finished, or its files are damaged.
        """
        with reproducible(self.config):
            return restored(self.directory, self.config, saved(self.directory)[1]).eval()

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of `summary.json`; empty where the run is not finished."""
        file = self.directory / SUMMARY
        return read_mapping(file) if file.exists() else {}

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`: training and validation, oldest first."""
        return self._records(METRICS)

    @cached_property
    def routing(self) -> list[dict[str, Any]]:
        """The lines of `routing.jsonl`: what the gates did at each validation, and last on the test split."""
        return self._records(ROUTING)

    def examples(self, split: str = "test", number: int = 10) -> list[Batch]:
        """The first examples of a split, each as a batch of its own, so that none is padded for the sake of another.

        Raises:
            InputError: there is no such split.
        """
        source = self._source(split)
        return [self._batch(source, place) for place in range(min(number, len(source)))]

    def example(self, number: int = 0, split: str = "test") -> Example:
        """One example of a split, from 0, as `headwise show` draws it.

        Raises:
            InputError: there is no such split, or no such example in it.
        """
        source = self._source(split)
        if not 0 <= number < len(source):
            raise InputError(f"example={number}: the {split} split has {len(source)}; choose 0..{len(source) - 1}")
        return Example(self._batch(source, number), source.names(number))

    @torch.no_grad()
    def gates(self, example: Batch) -> Tensor:
        """The gates that the model gives an example at each refinement step that it takes, [T, N, L, H].

        A gate is the weight of a head's output: 0 where the head is off, 1 everywhere without a router. A router that
        decides for the whole sequence gives every position the same.

        Args:
            example: a batch of one, as `examples` gives it.

        Raises:
            ValueError: a batch of several.
        """
        if len(next(iter(example.values()))) != 1:
            raise ValueError("gates: give one example, a batch of size 1")
        x, layout = self.model.embed(example)
        trace = self.model.backbone(x, layout, record=True)
        steps, shape = int(trace.steps[0]), (x.shape[1], self.config.model.heads)
        if not trace.gates or not trace.gates[0]:
            return torch.ones(steps, self.config.model.depth, *shape)
        return torch.stack([torch.stack([one.weight[0].expand(shape) for one in step]) for step in trace.gates[:steps]])

    def _source(self, split: str) -> Source:
        if split not in SPLITS:
            raise InputError(f"split={split}: choose one of {', '.join(SPLITS)}")
        return self.data.split(split)

    def _batch(self, source: Source, place: int) -> Batch:
        """With draws as it was scored with."""
        index = torch.tensor([place])
        return source.batch(index) | ({KEYS: keys_of(index, 0)} if self.config.arm.refinement.draws else {})

    def _records(self, name: str) -> list[dict[str, Any]]:
        file = self.directory / name
        return read_records(file) if file.exists() else []
